"""Examines a data set: counts, labels, formats, damaged and doubled files, each problem with file, line and remedy.

DIR is any folder (or label list) that the other commands read. Exit code 1 if there is an error.

python -m lpr.check OLD.jsonl NEW.jsonl compares two files of predictions instead: exit code 1 if the distribution of
their confidences drifted (Kolmogorov-Smirnov: p below 0.01 and a distance of at least 0.1).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, run, track_progress
from .types import InputError, Problem, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from .data.doctor import Findings, ImageFindings


def main(argv: Sequence[str]) -> int | None:
    """Print the report to stdout; 1 if there are errors (with --strict: any problem), else 0."""
    parser = Parser("lpr.check", __doc__)
    parser.add_argument(
        "dir", type=Path, nargs="+", metavar="DIR", help="folder of tracks or images, or a label list; or two .jsonl"
    )
    parser.add_argument("--images", action="store_true", help="decode every image too: sizes, damage, identical files")
    parser.add_several("--format", "NAME", "formats that labels may have (default: all known)")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument("--limit", type=int, default=20, help="problems to print (default 20); --json lists all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found to FILE")
    args = parser.parse_args(argv)
    if any(path.suffix == ".jsonl" for path in args.dir):
        return _drift(args.dir, args.json)
    if len(args.dir) > 1:
        raise UsageError("one DIR at a time, or two files of predictions (.jsonl)")

    from rich.console import Console

    from .data.doctor import examine, examine_images, summary
    from .data.scan import scan
    from .files import write_text
    from .formats import known_formats, load_formats

    formats = load_formats(args.format or known_formats())
    found = scan(args.dir[0])
    findings = examine(found, formats)
    images = examine_images(track_progress(found.tracks, "images")) if args.images else None
    problems = [*findings.problems, *(images.problems if images else ())]

    # Not narrower than the tables, so that a report in a file or pipe is not folded at 80 columns.
    console = Console(highlight=False)
    console.width = max(console.width, 100)
    _print_groups(console, findings)
    _print_labels(console, findings)
    if images:
        _print_images(console, images)
    errors = sum(problem.severity == "error" for problem in problems)
    _print_problems(problems, errors, max(args.limit, 0))
    if args.json:
        write_text(args.json, json.dumps(summary(findings, images), indent=1, ensure_ascii=False) + "\n")
    return 1 if errors or (args.strict and problems) else 0


def _drift(paths: Sequence[Path], target: Path | None) -> int:
    """Compare the confidences of two files of predictions; 1 if they drifted."""
    from .decode.records import first_audit, read_predictions
    from .report.drift import LEAST_DISTANCE, MOST_P, differences, drift

    if len(paths) != 2:
        raise UsageError(f"a comparison takes two files of predictions, not {len(paths)}")
    sure = [[prediction.confidence for prediction in read_predictions(path)] for path in paths]
    for path, values in zip(paths, sure, strict=True):
        if not values:
            raise InputError("holds no predictions", where=path)
    found = drift(*sure)
    for path, mean, count in zip(paths, found.means, found.counts, strict=True):
        print(f"{path}: {count} tracks, mean confidence {mean:.3f}")
    for name, one, other in differences(*map(first_audit, paths)):
        print(f"not made alike: {name} {one} then, {other} now")
    print(
        f"largest distance {found.distance:.3f}, at confidence {found.at:.3f}; chance gives more with p = {found.p:.2g}"
    )
    rule = f"drift is p < {MOST_P} and a distance of at least {LEAST_DISTANCE}"
    said = "the confidences drifted" if found.drifted else "no drift"
    if not found.drifted and found.distance >= LEAST_DISTANCE:
        said = "too few tracks to tell"
    print(f"{said} ({rule})")
    if target:
        from .files import write_text

        write_text(target, json.dumps({**asdict(found), "drifted": found.drifted}, indent=1) + "\n")
    return 1 if found.drifted else 0


def _print_groups(console: Console, findings: Findings) -> None:
    from rich.table import Table

    table = Table("scenario", "layout", title="Tracks", title_justify="left")
    for name in ("tracks", "labelled", "LR frames", "HR frames"):
        table.add_column(name, justify="right")
    table.add_column("file types")
    for (scenario, layout), group in findings.groups.items():
        counts = (group.tracks, group.labelled, group.lr_frames, group.hr_frames)
        types = ", ".join(f"{suffix} {count}" for suffix, count in sorted(group.file_types.items()))
        table.add_row(scenario, layout, *map(str, counts), types)
    console.print(table)
    per_track = ", ".join(f"{frames} in {tracks} tracks" for frames, tracks in sorted(findings.lr_per_track.items()))
    print(f"LR frames a track: {per_track}\n")


def _print_labels(console: Console, findings: Findings) -> None:
    from rich.table import Table

    labels = findings.labels
    repeated = [(text, count) for text, count in labels.most_common() if count > 1]
    rows = {
        "labelled tracks": f"{labels.total()} ({findings.unlabelled} without a label)",
        "different texts": f"{len(labels)}, of which {len(repeated)} stand on several tracks",
        "most frequent": ", ".join(f"{text} {count} times" for text, count in repeated[:5]) or "each text once",
        "lengths": ", ".join(f"{length}: {count}" for length, count in sorted(findings.lengths.items())) or "-",
        "formats": ", ".join(f"{name} {count}" for name, count in findings.formats.most_common()) or "-",
        "changed by normalising": f"{findings.normalised} (blanks, hyphens, dots, lower case)",
        "characters never seen": findings.unused_characters or "none",
    }
    table = Table("labels", "", title_justify="left")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _print_images(console: Console, images: ImageFindings) -> None:
    from rich.table import Table

    from .data.doctor import size_ranges

    table = Table("scenario", "kind", title="Images: smallest, median, largest in px", title_justify="left")
    for name in ("images", "width", "height"):
        table.add_column(name, justify="right")
    for (scenario, kind), pairs in images.sizes.items():
        ranges = (" ".join(f"{value:g}" for value in values) for values in size_ranges(pairs))
        table.add_row(scenario, kind.upper(), str(len(pairs)), *ranges)
    console.print(table)
    print(f"damaged files: {images.damaged}, files identical to an earlier one: {images.identical}\n")


def _print_problems(problems: Sequence[Problem], errors: int, limit: int) -> None:
    for problem in sorted(problems, key=lambda p: p.severity != "error")[:limit]:
        print(f"{problem.severity}: {problem}")
    if len(problems) > limit:
        print(f"... and {len(problems) - limit} more (--limit, or --json FILE for all)")
    print(f"{errors} errors, {len(problems) - errors} warnings")


if __name__ == "__main__":
    run(main)

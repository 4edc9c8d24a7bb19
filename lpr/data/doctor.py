"""Examining a data set: counts, label statistics, and everything about it that somebody should mend."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any

from ..formats import PlateFormat, format_of, load_format
from ..types import ALPHABET, Frame, FrameKind, InputError, Problem, Track
from .images import decode_image, read_bytes
from .labels import label_problem
from .scan import Scan

#: How far corners may lie outside their picture, as a share of its size: crops cut plates, but not by a quarter.
OUTSIDE = 0.25


@dataclass(slots=True)
class Group:
    """Counts of the tracks of one scenario and layout. `file_types` counts images by suffix."""

    tracks: int = 0
    labelled: int = 0
    lr_frames: int = 0
    hr_frames: int = 0
    file_types: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Findings:
    """What `examine` counted.

    `groups`: (scenario, layout) -> counts, "-" where unknown. `lr_per_track`: LR frames of a track -> tracks.
    `labels` and `lengths`: text -> tracks, characters -> tracks. `formats`: format's name or "none" -> tracks.
    """

    groups: dict[tuple[str, str], Group]
    lr_per_track: Counter[int]
    labels: Counter[str]
    lengths: Counter[int]
    formats: Counter[str]
    unlabelled: int
    normalised: int
    problems: tuple[Problem, ...]

    @property
    def unused_characters(self) -> str:
        """Characters of the default alphabet that no label holds."""
        return "".join(c for c in ALPHABET if not any(c in text for text in self.labels))


@dataclass(frozen=True, slots=True)
class ImageFindings:
    """What `examine_images` saw. `sizes`: (scenario, "lr" or "hr") -> (width, height) in px of each readable image."""

    sizes: dict[tuple[str, str], list[tuple[int, int]]]
    damaged: int
    identical: int
    problems: tuple[Problem, ...]


def examine(scan: Scan, formats: Sequence[PlateFormat]) -> Findings:
    """Count tracks and judge labels without opening an image.

    A label has to obey the format that its track's layout names, or else any of `formats`.
    """
    groups: dict[tuple[str, str], Group] = defaultdict(Group)
    labels: Counter[str] = Counter()
    by_format: Counter[str] = Counter()
    problems = list(scan.problems)
    violations: list[Problem] = []
    unlabelled = 0
    for track in scan.tracks:
        group = groups[track.scenario or "-", track.layout or "-"]
        group.tracks += 1
        for frame in track.frames:
            if frame.kind == "lr":
                group.lr_frames += 1
            else:
                group.hr_frames += 1
            group.file_types[frame.path.suffix] += 1
        if track.text is None:
            unlabelled += 1
            continue
        group.labelled += 1
        labels[track.text] += 1
        if what := label_problem(track.text, ALPHABET):
            problems.append(Problem(track.label_at, what, "correct it; the track stays out of training", "error"))
            continue
        own = (load_format(track.layout),) if track.layout else formats
        found = format_of(track.text, own)
        by_format[found.name if found else "none"] += 1
        if not found:
            names = ", ".join(f.name for f in own)
            fix = "correct the label or its layout"
            violations.append(Problem(track.label_at, f"label {track.text!r} has not the format {names}", fix))
    problems += _summarised(violations, sum(by_format.values()), formats)
    lr_per_track = Counter(len(track.lr) for track in scan.tracks)
    problems += _unusual_counts(scan.tracks, "lr")
    # Test sets, which have no labels, have no HR frames either.
    problems += _unusual_counts([track for track in scan.tracks if track.text is not None], "hr")
    lengths: Counter[int] = Counter()
    for text, count in labels.items():
        lengths[len(text)] += count
    return Findings(
        groups=dict(sorted(groups.items())),
        lr_per_track=lr_per_track,
        labels=labels,
        lengths=lengths,
        formats=by_format,
        unlabelled=unlabelled,
        normalised=scan.normalised,
        problems=tuple(problems),
    )


def examine_images(tracks: Iterable[Track]) -> ImageFindings:
    """Read and decode every image: sizes, damaged files, and files that are byte for byte the same."""
    sizes: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    problems: list[Problem] = []
    twins: dict[tuple[str, str], list[Problem]] = {}
    first_with: dict[bytes, tuple[Frame, Track]] = {}
    damaged = identical = 0
    for track in tracks:
        for frame in track.frames:
            try:
                data = read_bytes(frame.path)
                image = decode_image(data, frame.path)
            except InputError as error:
                damaged += 1
                problems.append(error.problem)
                continue
            height, width = image.shape[:2]
            sizes[track.scenario or "-", frame.kind].append((width, height))
            problems += _outside_problem(frame, track, width, height)
            twin, its_track = first_with.setdefault(blake2b(data, digest_size=16).digest(), (frame, track))
            if twin is not frame:
                identical += 1
                pair = str(frame.path.parent), str(twin.path.parent)
                twins.setdefault(pair, []).append(_twin_problem(frame, track, twin, its_track))
    for (folder, other), found in twins.items():
        problems += _of_one_folder(folder, other, found)
    return ImageFindings(dict(sorted(sizes.items())), damaged, identical, tuple(problems))


def summary(findings: Findings, images: ImageFindings | None) -> dict[str, Any]:
    """Everything as plain values for JSON; sizes are [smallest, median, largest] in px."""
    result: dict[str, Any] = {
        "groups": [
            {
                "scenario": scenario, "layout": layout, "tracks": g.tracks, "labelled": g.labelled,
                "lr_frames": g.lr_frames, "hr_frames": g.hr_frames, "file_types": dict(g.file_types),
            }
            for (scenario, layout), g in findings.groups.items()
        ],
        "lr_frames_per_track": dict(sorted(findings.lr_per_track.items())),
        "labels": {
            "labelled": findings.labels.total(),
            "unlabelled": findings.unlabelled,
            "normalised": findings.normalised,
            "different": len(findings.labels),
            "lengths": dict(sorted(findings.lengths.items())),
            "formats": dict(findings.formats),
            "repeated": {text: count for text, count in findings.labels.most_common() if count > 1},
            "unused_characters": findings.unused_characters,
        },
    }  # fmt: skip
    problems = list(findings.problems)
    if images:
        problems += images.problems
        result["images"] = {
            "damaged": images.damaged,
            "identical": images.identical,
            "sizes_px": [
                {"scenario": s, "kind": kind, "images": len(pairs), "width": w, "height": h}
                for (s, kind), pairs in images.sizes.items()
                for w, h in [size_ranges(pairs)]
            ],
        }
    result["problems"] = [{"severity": p.severity, "where": p.where, "what": p.what, "fix": p.fix} for p in problems]
    return result


def size_ranges(pairs: Sequence[tuple[int, int]]) -> tuple[list[float], list[float]]:
    """[smallest, median, largest] of the widths and of the heights, px."""
    widths, heights = zip(*pairs, strict=True)
    return [min(widths), median(widths), max(widths)], [min(heights), median(heights), max(heights)]


def _summarised(violations: list[Problem], labels: int, formats: Sequence[PlateFormat]) -> list[Problem]:
    """One problem instead of thousands where the whole data set is of another country."""
    if len(violations) <= 20 or len(violations) < 0.5 * labels:
        return violations
    names = ", ".join(f.name for f in formats)
    what = f"{len(violations)} of {labels} labels do not fit ({names}); the first: {violations[0].what}"
    return [Problem(violations[0].where, what, "correct labels or layouts, or name their format with --format")]


def _unusual_counts(tracks: Sequence[Track], kind: FrameKind) -> list[Problem]:
    counts = [len(track.lr if kind == "lr" else track.hr) for track in tracks]
    usual, count = (Counter(counts).most_common(1) or [(0, 0)])[0]
    if count == len(tracks):
        return []
    at = next(at for at, found in enumerate(counts) if found != usual)
    odd, name = tracks[at], kind.upper()
    where = odd.frames[0].path.parent if odd.frames else Path(odd.id)
    what = f"{len(tracks) - count} tracks have not the usual {usual} {name} frames; the first has {counts[at]}"
    use = "any number can be read" if kind == "lr" else "training takes any number, reading none"
    return [Problem(str(where), what, f"{use}; check that none was lost in copying")]


def _outside_problem(frame: Frame, track: Track, width: int, height: int) -> list[Problem]:
    """Corners that lie more than OUTSIDE of the picture's size beyond it, which a plate cut by the crop does not."""
    points = track.corners.get(frame.path.name, {})
    far = {
        name: (x, y)
        for name, (x, y) in points.items()
        if max(-x, x - width) > OUTSIDE * width or max(-y, y - height) > OUTSIDE * height
    }
    if not far:
        return []
    (name, (x, y)), *_ = far.items()
    what = f"its {name} corner ({x:g}, {y:g}) lies far outside the picture of {width}x{height} px"
    return [Problem(str(frame.path), what, "correct annotations.json, or check that they belong to this picture")]


def _of_one_folder(folder: str, other: str, found: list[Problem]) -> list[Problem]:
    """One problem for a folder of which many files are another's, instead of one a file."""
    if len(found) < 3 or folder == other:
        return found
    worst = min(found, key=lambda problem: problem.severity)
    what = f"{len(found)} files are byte for byte those of {other}; the first: {Path(found[0].where).name}"
    if worst.severity == "error":
        what = f"{what}; {Path(worst.where).name} {worst.what}"
    return [Problem(folder, what, worst.fix, worst.severity)]


def _twin_problem(frame: Frame, track: Track, twin: Frame, its_track: Track) -> Problem:
    where, what = str(frame.path), f"is byte for byte {twin.path}"
    if track.text != its_track.text and track.text and its_track.text:
        return Problem(where, f"{what}, but is labelled {track.text!r}, not {its_track.text!r}", "correct one", "error")
    return Problem(where, what, "remove one, or check that the right file was copied")

"""Rank the plates a track may show: all, a register's, or those that fit a witness's memory.

python -m lpr.candidates --tracks test/ --out found/ --top 10
python -m lpr.candidates --tracks test/ --out found/ --registry plates.csv --pattern "A?C1*"
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import Parser, console, run, show_problems, track_progress
from .types import InputError, Posteriors, Problem, UsageError

if TYPE_CHECKING:
    from .decode.register import Register
    from .decode.stored import Decoder
    from .source import Source

EPILOG = """\
Without --registry: the plates that obey a format, and match --pattern where it is given (? one character, * any).
--registry: a CSV with a column `text`, or --column; only its plates are ranked, those that match --pattern.
--tracks posteriors.npz ranks from what lpr.infer --save-posteriors wrote, without a network.
--out receives candidates.jsonl (a line a track) and candidates.csv (a line a candidate).
`prob` is the probability that the whole plate is this one; those of a track sum to at most 1. `share` is the same if it
is one of those listed, say because it must be in the register. `char_probs` holds for each character its probability
if all the others are right. `format_probs` holds the probability of each format, where several are read; --format auto
weighs them by their priors, but not where --registry or --pattern choose the texts."""

#: Plates of a register, or that match a pattern, less likely than this together: it is likely none of them.
UNLIKELY = 1e-3

#: What is said of a track that shows a plate, but none of a register or of a pattern.
NONE_LIKELY = "none of these is likely"

COLUMNS = ("track_id", "rank", "text", "prob", "share", "format", "char_probs", "line", "problems")


@dataclass(frozen=True, slots=True)
class Known:
    """A register as it was read: the plates fit for ranking, where each stands in the file, and what is wrong."""

    register: Register
    lines: list[int]
    problems: list[Problem]
    repeated: int


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.candidates", __doc__ or "", EPILOG)
    parser.add_argument("--tracks", required=True, metavar="DIR", help="tracks, single images, or a posteriors.npz")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the two results")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="candidates a track (default 10)")
    parser.add_argument("--registry", metavar="CSV", help="known plates, one a line")
    parser.add_argument("--column", default="text", metavar="NAME", help="the register's column of plates (text)")
    parser.add_argument("--pattern", metavar="TEXT", help='what a witness remembers, such as "A?C1*"')
    parser.add_several("--checkpoint", "PATH", "a run, its best folder or file; or several, or an ensemble file")
    parser.add_several(
        "--format", "NAME", "formats to read, or auto: all that the checkpoint serves; default: its setting"
    )
    parser.add_several("--set", "K=V", "such as read.fusion=sequence")
    parser.add_argument("--device", help="torch device; default: the GPU where there is one")
    args = parser.parse_args(argv)
    if not 1 <= args.top <= 1000:
        raise UsageError(f"--top {args.top} is not between 1 and 1000")

    from .decode.decode import UNLIKE
    from .files import writable_folder, write_text
    from .source import open_source

    source = open_source(Path(args.tracks), args.checkpoint, args.format, args.set, args.device)
    say = console().print
    say(source.said)
    known = None
    if args.registry:
        known = read_registry(Path(args.registry), source.alphabet, args.pattern, args.column)
        show_problems(known.problems)
        say(
            f"{args.registry}: {len(known.register)} plates to rank, {known.repeated} repeated, "
            f"{len(known.problems)} lines left out"
        )
    elif args.pattern is not None:
        _expect_matches(args.pattern, source)

    find, decoder = _finder(source, known, args.pattern, args.top)
    if decoder.uncalibrated:
        say(f"probabilities are {decoder.uncalibrated}")
    audit = decoder.audit()
    # Not before all else is in order, so that a mistake leaves no empty folder.
    out = writable_folder(args.out)
    records: list[dict[str, Any]] = []
    unlike: list[str] = []
    unlikely: list[str] = []
    problems = list(source.problems)
    for posteriors, wrong in track_progress(source.stream, "ranking", len(source.ids)):
        problems += wrong
        record = find(posteriors)
        if any(UNLIKE in problem for problem in record["problems"]):
            unlike.append(record["track_id"])
        elif any(NONE_LIKELY in problem for problem in record["problems"]):
            unlikely.append(record["track_id"])
        record["problems"] += [str(problem) for problem in wrong]
        records.append(record)
    show_problems(problems)
    if unlike:
        say(f"{len(unlike)} of {len(records)} tracks do not look like a plate, such as {unlike[0]}")
    if unlikely:
        say(f"{len(unlikely)} of {len(records)} tracks: {NONE_LIKELY}, such as {unlikely[0]}")

    lines = [json.dumps({**record, "audit": audit}, ensure_ascii=False) for record in records]
    write_text(out / "candidates.jsonl", "\n".join(lines) + "\n")
    write_text(out / "candidates.csv", _table(records))
    blind = [record["track_id"] for record in records if not record["candidates"]]
    if blind:
        shown = ", ".join(blind[:5]) + (" ..." if len(blind) > 5 else "")
        say(f"{len(blind)} of {len(records)} tracks have no candidate: {shown}")
    print(out / "candidates.csv")
    return 0


def read_registry(path: Path, alphabet: str, pattern: str | None = None, column_name: str = "text") -> Known:
    """Read a register: a CSV (a byte order mark and CR LF are fine) with a column of plates, `text` or `column_name`.

    Plates are normalised as labels are. A line whose plate cannot be one is left out and becomes a Problem with file
    and line; a plate on several lines counts once, on its first.

    Raises:
        InputError: the file cannot be read, has no column `text`, or no plate is left.
    """
    from .data.labels import label_problem, normalise_label
    from .decode.candidates import pattern_expression
    from .decode.register import MOST_CHARACTERS, Register
    from .files import csv_lines, delimiter_of

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    wanted = column_name.strip().lower()
    remembered = pattern_expression(pattern, alphabet) if pattern is not None else None
    texts: list[str] = []
    lines: list[int] = []
    problems: list[Problem] = []
    column, delimiter = -1, ","
    for at, row_text in csv_lines(data):
        # Line by line: no plate holds a line break, so a stray quote costs its own line only.
        if column < 0:
            delimiter = delimiter_of(row_text, wanted)
        try:
            row = next(csv.reader([row_text], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            problems.append(Problem(f"{path}:{at}", f"is not valid CSV: {error}", "mend the quotes"))
            continue
        if column < 0:
            header = [name.strip().lower() for name in row]
            if wanted not in header:
                shown = ", ".join(header)[:80] or "nothing"
                fix = "name the column of plates with --column; the first line is the header"
                raise InputError(f"has no column `{column_name}`, but {shown}", where=f"{path}:{at}", fix=fix)
            column = header.index(wanted)
        elif row:
            text = normalise_label(row[column] if column < len(row) else "")
            wrong = label_problem(text, alphabet)
            if wrong is None and len(text) > MOST_CHARACTERS:
                wrong = f"plate {text!r:.40} has more than {MOST_CHARACTERS} characters"
            if wrong:
                problems.append(Problem(f"{path}:{at}", wrong, "the line is left out"))
            elif remembered is None or remembered.fullmatch(text):
                texts.append(text)
                lines.append(at)
    if column < 0:
        raise InputError(f"has no column `{column_name}`, but nothing", where=f"{path}:1", fix="fill it")
    if not texts:
        first = f"; first: {problems[0]}" if problems else ""
        fitting = f" that matches {pattern!r}" if pattern is not None else ""
        raise InputError(f"holds no plate{fitting}, {len(problems)} lines cannot be one{first}", where=path)
    register = Register(texts, alphabet)
    return Known(register, [lines[at] for at in register.first], problems, len(texts) - len(register))


def _expect_matches(pattern: str, source: Source) -> None:
    from .decode.candidates import pattern_spellings

    if not pattern_spellings(pattern, source.decoder.formats, source.alphabet):
        templates = ", ".join(f"{t} ({one.name})" for one in source.decoder.formats for t in one.templates)
        raise UsageError(f"no plate matches {pattern!r} and obeys a format: {templates}")


def _finder(
    source: Source, known: Known | None, pattern: str | None, top: int
) -> tuple[Callable[[Posteriors], dict[str, Any]], Decoder]:
    """What ranks one track: posteriors -> its record; and the decoder with the settings that it does so with."""
    import numpy as np

    from .decode.candidates import char_probs, matching
    from .decode.ctc import clean
    from .decode.decode import calibrated, common_power, fused_evidence, share_rest, unlike_problem, usable, weigh_track
    from .decode.fusion import VOTES
    from .formats import format_of

    formats, alphabet, read = source.decoder.formats, source.alphabet, source.decoder.config.read
    # Votes over whole texts know no second text: where they are configured, texts are ranked by sequence.
    fusion = "sequence" if read.fusion in VOTES else read.fusion
    # The rank in a register, or under a pattern, is the one of the texts' own likelihoods.
    free = known is None and pattern is None
    priors = read.format_priors and free
    read = read.model_copy(update={"decoder": "constrained", "fusion": fusion, "format_priors": priors})
    calibration = usable(source.decoder.calibration, read, formats)
    common = common_power(read) if free else 0.0

    def find(posteriors: Posteriors) -> dict[str, Any]:
        arrays = [clean(array, alphabet) for array in posteriors.log_probs]
        evidence, weights, *_ = fused_evidence(arrays, read, formats, alphabet, posteriors.weights, posteriors.files)
        # Raw probabilities first; the best plate's confidence sets the scale of the others.
        best, weighed = weigh_track(posteriors, read, formats, top - 1)
        confidence = calibrated(weighed, read, calibration)
        place: dict[str, int] = {}
        if known is not None:
            indices = known.register.rank(evidence, top, weights)
            ranked = [(known.register.text(at), log_prob) for at, log_prob in indices]
            place = {known.register.text(at): known.lines[at] for at, _ in indices}
        elif pattern is not None:
            ranked = list(matching(evidence, pattern, formats, alphabet, top, weights).texts)
        else:
            shown = [(best.text, best.confidence), *best.runners_up] if best.confidence > 0 else []
            ranked = [(text, float(np.log(max(prob, 1e-300)))) for text, prob in shown]
        raw = [(text, float(np.exp(log_prob))) for text, log_prob in ranked]
        obeyed = {text: format_of(text, formats) for text, _ in raw}
        rest = [pair for pair in raw if pair[0] != best.text]
        probs: dict[str, float] = {}
        # The best plate of the formats says nothing of a registered one that obeys none of them.
        for obey in (True, False):
            alike = [pair for pair in rest if (obeyed[pair[0]] is not None) == obey]
            probs.update(share_rest(alike, weighed, confidence, calibration, obey=obey))
        # Both kinds have the same rest to share.
        most = (1 - confidence) / max(sum(probs.values()), 1 - confidence, 1e-300)
        probs = {best.text: confidence} | {text: prob * most for text, prob in probs.items()}
        found: list[dict[str, Any]] = []
        for rank, (text, _) in enumerate(raw, start=1):
            one = obeyed[text]
            found.append(
                {
                    "rank": rank,
                    "text": text,
                    "prob": probs[text],
                    "format": one.name if one else None,
                    "char_probs": [round(p, 4) for p in char_probs(evidence, text, formats, alphabet, weights, common)],
                    **({"line": place[text]} if known is not None else {}),
                }
            )
        shares = [{"format": name, "prob": prob} for name, prob in best.format_probs]
        # Of a register or a pattern the best may be none of these.
        total = sum(probs[text] for text, _ in raw)
        for row in found:
            row["share"] = probs[row["text"]] / total if total > 0 else 0.0
        plate = calibration is None or not weighed.raw > 0 or calibration.is_plate(weighed)
        problems = [str(problem) for problem in best.problems]
        if not plate:
            problems.append(str(unlike_problem(posteriors.track_id, formats)))
        elif total < UNLIKELY and (known is not None or pattern is not None):
            problems.append(f"{posteriors.track_id}: {NONE_LIKELY}, shares say only which is nearest")
        return {"track_id": posteriors.track_id, "candidates": found, "format_probs": shares, "problems": problems}

    return find, replace(source.decoder, config=source.decoder.config.model_copy(update={"read": read}))


def _table(records: Sequence[dict[str, Any]]) -> str:
    """The CSV: a line a candidate; a track without one has a line with its id alone."""
    target = io.StringIO()
    table = csv.DictWriter(target, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for record in records:
        rows = record["candidates"] or [{}]
        for row in rows:
            chars = " ".join(f"{prob:.4f}" for prob in row.get("char_probs", ()))
            shown = {
                **row,
                "char_probs": chars,
                "prob": f"{row['prob']:.6g}" if row else "",
                "share": f"{row['share']:.6g}" if row else "",
                "problems": " | ".join(record["problems"]),
                "format": row.get("format") or "",
            }
            table.writerow({"track_id": record["track_id"], **shown})
    return target.getvalue()


if __name__ == "__main__":
    run(main)

"""Go through the checklist before a submission is sent.

Zip, size, format, completeness, checkpoint, inference on samples. Exit code 1 if a check fails or cannot be done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, run
from .decode.records import first_audit
from .formats import PlateFormat, load_formats
from .submission import COMPETITION, MEMBER, read_submission, unpack, validate
from .types import InputError, Track

if TYPE_CHECKING:
    from .ensemble import Ensemble

#: Tracks read again to test inference.
SAMPLES = 3

#: Tracks from which one text for all of them is no chance.
ALIKE = 20

#: What lpr.infer writes beside the zip: whose readings they are.
PREDICTIONS = "predictions.jsonl"

#: A line takes 30 bytes, so the blind test's 3,000 some 30 KB packed; far more cannot be a submission.
MOST_ZIP_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist; `passed` is None where it could not be done."""

    name: str
    passed: bool | None
    detail: str

    def __str__(self) -> str:
        mark = {True: "x", False: " ", None: "-"}[self.passed]
        return f"[{mark}] {self.name}: {self.detail}"


def checklist(
    path: Path,
    tracks: Sequence[Track],
    formats: Sequence[PlateFormat],
    reader: Callable[[], Ensemble],
) -> Iterator[Check]:
    """Every check of a zip against the test set that it answers; `reader` loads the network, last."""
    yield Check("zip created correctly", *_zip(path))
    size = path.stat().st_size if path.is_file() else 0
    yield Check("size within limits", 0 < size <= MOST_ZIP_BYTES, f"{size} bytes, at most {MOST_ZIP_BYTES}")
    wrong = validate(path, None, formats)
    yield Check("format validation passing", not wrong, f"{wrong[0]} (the first)" if wrong else "every line is right")
    if wrong:
        yield Check("all predictions generated", None, "unknown until the format is right")
    else:
        missing = validate(path, [track.id for track in tracks], formats)
        texts = {one.text for one in read_submission(path)}
        if missing:
            said = f"{missing[0]} (the first)"
        elif constant := len(texts) == 1 and len(tracks) >= ALIKE:
            said = f"all {len(tracks)} tracks are said to read {texts.pop()}: the network has learnt nothing"
        else:
            said = f"a line for each of {len(tracks)} tracks, and no other"
        yield Check("all predictions generated", not (missing or constant), said)
    yield from _network(path, tracks, reader, readable=not wrong)


def _zip(path: Path) -> tuple[bool, str]:
    try:
        name, _ = unpack(path)
    except InputError as error:
        return False, error.problem.what
    return True, f"holds {name}" + ("" if name == MEMBER else f" (the organisers call it {MEMBER})")


def _network(path: Path, tracks: Sequence[Track], load: Callable[[], Ensemble], readable: bool) -> Iterator[Check]:
    try:
        reader = load()
    except InputError as error:
        yield Check("checkpoint loads", False, str(error).replace("\n", " "))
        yield Check("inference tested on samples", None, "there is no checkpoint to test")
        return
    yield Check("checkpoint loads", True, reader.said.removeprefix("checkpoint: ").replace("\n", "; "))
    # The first, the middle and the last: test sets are sorted by the time of recording.
    some = [tracks[at] for at in sorted({0, len(tracks) // 2, len(tracks) - 1})[:SAMPLES]]
    predictions = [prediction for *_, prediction in reader.decoder.decode_all(reader.posteriors(some))]
    blind = [prediction.track_id for prediction in predictions if not prediction.per_frame]
    if len(blind) == len(predictions):
        yield Check("inference tested on samples", False, f"{', '.join(blind)}: no readable LR frame")
        return
    sent = {one.track_id: one.text for one in read_submission(path)} if readable else {}
    same = sum(sent.get(one.track_id) == one.text for one in predictions)
    texts = ", ".join(
        f"{one.track_id} {one.text}" + (" (no readable LR frame)" if one.track_id in blind else "")
        for one in predictions
    )
    detail = f"{texts}; {same} of {len(some)} as in the zip"
    maker = _maker(path)
    if maker and maker[0] != reader.decoder.model_hash:
        detail += f"; {path.parent / PREDICTIONS} says that {maker[1]} made it: name that with --checkpoint"
        yield Check("inference tested on samples", False, detail)
        return
    strange = readable and not same and not maker
    if strange:
        detail += ": another checkpoint made it, name that with --checkpoint"
    # Another fusion may have made the zip, so that texts differ is shown and does not fail.
    yield Check("inference tested on samples", not strange, detail)


def _maker(path: Path) -> tuple[str, str] | None:
    """Hash and name of the checkpoint that the first record beside the zip names; None where there is none."""
    audit = first_audit(path.parent / PREDICTIONS)
    return (
        (str(audit["model_hash"]), str(audit["checkpoint"])) if {"model_hash", "checkpoint"} <= audit.keys() else None
    )


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.checklist", __doc__ or "")
    parser.add_argument("path", metavar="ZIP", help="the submission")
    parser.add_argument("--tracks", required=True, metavar="DIR", help="the test set that it answers")
    parser.add_several("--checkpoint", "PATH", "what made it, as in lpr.infer; default as there")
    parser.add_several("--format", "NAME", f"default: {' '.join(COMPETITION)}")
    parser.add_argument("--device", help="torch device; default: the GPU where there is one")
    args = parser.parse_args(argv)

    from .data.scan import scan

    tracks = scan(Path(args.tracks)).tracks
    formats = load_formats(args.format or COMPETITION)
    failed = 0

    def load() -> Ensemble:
        from .ensemble import Ensemble

        return Ensemble(args.checkpoint or [None], format=args.format, device=args.device)

    for check in checklist(Path(args.path), tracks, formats, load):
        print(check, flush=True)
        failed += check.passed is not True
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)

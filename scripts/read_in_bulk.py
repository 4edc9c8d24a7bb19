"""Read a folder of tracks with many readers at once: all cores of a machine, or of a cluster (Ray Data).

pip install "ray[data]"
python scripts/read_in_bulk.py TRACKS --out DIR                                    # this machine, a reader a core
RAY_ADDRESS=HEAD:6379 python scripts/read_in_bulk.py TRACKS --out DIR --readers 64     # a cluster
python scripts/read_in_bulk.py TRACKS --out DIR --readers 4 --gpus 1                   # a GPU each

Writes what lpr.infer writes, without pictures: predictions.jsonl and predictions.zip in the order of the tracks, and
review.csv. Readings are kept in unfinished.jsonl as they come: the same call goes on after a killed one. On a cluster
tracks, checkpoint and this repository must lie at the same paths on every machine. Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr.cli import console, run, show_problems, track_progress
from lpr.data.scan import scan
from lpr.decode.records import from_record, to_record
from lpr.decode.review import corrections, review_row, track_path, write_review
from lpr.files import atomic_path, writable_folder, writing
from lpr.submission import id_problems, validate, write_submission
from lpr.types import InputError, Track

#: Where readings are kept until all are there.
JOURNAL = "unfinished.jsonl"


class Bulk:
    """A reader of its own in each process: batches of tracks in, JSON lines of predictions out."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        from lpr.ensemble import Ensemble

        self.reader = Ensemble(**options)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        decoder, lines = self.reader.decoder, []
        for *_, prediction in decoder.decode_all(self.reader.posteriors(list(batch["track"]))):
            lines.append(json.dumps(to_record(prediction, decoder.audit()), ensure_ascii=False))
        return {"line": np.array(lines, dtype=object)}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--checkpoint", nargs="+", metavar="PATH", help="as lpr.infer takes them")
    parser.add_argument("--format", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--set", nargs="+", default=[], metavar="K=V", help="such as read.fusion=confidence_vote")
    parser.add_argument("--readers", type=int, help="default: as many as there are cores or GPUs for")
    parser.add_argument("--cpus", type=float, default=1, help="cores a reader takes (default 1)")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs a reader takes, also a share of one (default 0)")
    parser.add_argument("--batch", type=int, default=256, help="tracks handed over at once (default 256)")
    args = parser.parse_args(argv)
    # Before ray is imported: it would send figures on its use.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise InputError(f"Ray is not installed ({error})", fix='pip install "ray[data]"') from error

    if written := corrections(args.out / "review.csv"):
        raise InputError(f"holds {written} corrections", where=args.out / "review.csv", fix="choose another --out")
    scanned = scan(args.tracks)
    if not scanned.tracks:
        raise InputError("holds no tracks and no images", where=args.tracks, fix="see the layouts in the README")
    show_problems(scanned.problems)
    show_problems(id_problems([track.id for track in scanned.tracks]), 5)
    from lpr.ensemble import Ensemble

    device = "cuda" if args.gpus else "cpu"
    options = {"checkpoints": args.checkpoint or [None], "format": args.format, "settings": args.set, "device": device}
    # Also proves that it can be read with, before a cluster is asked for.
    reader = Ensemble(**{**options, "device": "cpu"})
    options["checkpoints"] = [str(one.checkpoint.path.resolve()) for one in reader.readers]
    if args.checkpoint and args.checkpoint[0].endswith(".json"):
        options["checkpoints"] = [str(Path(args.checkpoint[0]).resolve())]
    print(reader.said, file=sys.stderr)

    journal = writable_folder(args.out) / JOURNAL
    done = read_journal(journal, reader.decoder.audit())
    left = [track for track in scanned.tracks if track.id not in done]
    say = console().print
    if done:
        say(f"{len(scanned.tracks) - len(left)} of {len(scanned.tracks)} tracks are read already ({journal})")
    if left:
        here = {"env_vars": {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}}
        ray.init(log_to_driver=False, logging_level=logging.WARNING, runtime_env=here)
        there = ray.cluster_resources()
        most = there.get("GPU", 0) / args.gpus if args.gpus else there.get("CPU", 1) / args.cpus
        readers = min(args.readers or max(1, int(most)), -(-len(left) // args.batch))
        lines = read_all(left, options, readers, args)
        with writing(journal), journal.open("a", encoding="utf-8", newline="\n") as kept:
            for line in track_progress(lines, "reading", len(left)):
                kept.write(line + "\n")
                kept.flush()
        ray.shutdown()
    finish(args.out, scanned.tracks, reader)
    return 0


def read_all(
    tracks: Sequence[Track], options: Mapping[str, Any], readers: int, args: argparse.Namespace
) -> Iterator[str]:
    """JSON lines of all tracks, in whatever order they are done."""
    import ray

    # Our own bar shows the progress; warnings and errors still come.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    blocks = -(-len(tracks) // args.batch)
    data = ray.data.from_items([{"track": track} for track in tracks], override_num_blocks=blocks)
    data = data.map_batches(
        Bulk,
        fn_constructor_args=(options,),
        batch_size=args.batch,
        compute=ray.data.ActorPoolStrategy(size=readers),
        num_cpus=args.cpus,
        num_gpus=args.gpus or None,
    )
    for row in data.iter_rows():
        yield row["line"]


def read_journal(journal: Path, audit: Mapping[str, Any]) -> dict[str, int]:
    """Where each track's line begins in an earlier call's readings; from a broken line on they are cut off.

    Raises:
        InputError: they were made otherwise than `audit` says, the time aside.
    """
    if not journal.is_file():
        return {}
    done, end = {}, 0
    with journal.open("rb") as handle:
        for line in handle:
            try:
                record = json.loads(line) if line.endswith(b"\n") else {}
            except ValueError:
                record = {}
            if not record:
                break
            if _timeless(record["audit"]) != _timeless(audit):
                raise InputError(
                    "was begun with another checkpoint, other settings or another version of lpr",
                    where=journal,
                    fix="read on with those, or choose another --out",
                )
            done[record["track_id"]] = end
            end += len(line)
    os.truncate(journal, end)
    return done


def _timeless(audit: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in audit.items() if name != "time"}


def finish(out: Path, tracks: Sequence[Track], reader: Any) -> None:
    """Put the readings in the order of the tracks, write zip and review.csv, and drop the journal."""
    journal, decoder = out / JOURNAL, reader.decoder
    at = read_journal(journal, decoder.audit())
    if missing := [track.id for track in tracks if track.id not in at]:
        raise InputError(f"lacks {len(missing)} tracks, such as {missing[0]}", where=journal, fix="call it again")
    predictions, rows = [], []
    with atomic_path(out / "predictions.jsonl") as aside, aside.open("wb") as target, journal.open("rb") as kept:
        for track in tracks:
            kept.seek(at[track.id])
            line = kept.readline()
            target.write(line)
            found = from_record(json.loads(line))
            if found.confidence < decoder.config.read.review_below:
                rows.append(review_row(found, track_path(track)))
            predictions.append(found)
    write_review(out / "review.csv", rows)
    show_problems([problem for one in predictions for problem in one.problems])
    journal.unlink()
    archive = out / "predictions.zip"
    try:
        write_submission(predictions, archive)
        if wrong := validate(archive, [track.id for track in tracks], decoder.formats):
            raise InputError(f"does not validate: {wrong[0]}", where=archive)
    except InputError as error:
        archive.unlink(missing_ok=True)
        console().print(f"WARNING: predictions.zip was left out: {error}", style="bold red")
    print(f"{len(predictions)} tracks, {len(rows)} of them to look at: {out / 'review.csv'}")
    print(out / "predictions.jsonl")


if __name__ == "__main__":
    run(main)

"""Holds the test set of hardness `hard`: the checksum of every track of 2,000, as configs/hard_test.sha256.

python scripts/freeze.py              # fails, naming the tracks, if a change made other pictures
python scripts/freeze.py --first 10   # the truth of all and the pictures of ten: seconds instead of a minute
python scripts/freeze.py --write      # only for another test set, whose figures then compare with no earlier ones

The sums hold for one release of OpenCV, which the file names.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr.files import write_text
from lpr.plates.write import write_tracks

SUMS = Path(__file__).resolve().parent.parent / "configs" / "hard_test.sha256"
TRACKS, SEED = 2000, 2026


def sums(first: int | None = None) -> dict[str, str]:
    """SHA-256 of the five frames of every track (or of the first ones), in their order, and of the truth of all."""
    with tempfile.TemporaryDirectory() as folder:
        truth = write_tracks(Path(folder) / "test", TRACKS, "hard", SEED, split="test", first=first)
        found = {
            track.name: hashlib.sha256(b"".join(p.read_bytes() for p in sorted(track.iterdir()))).hexdigest()
            for track in sorted(truth.with_name("test").glob("track_*"))
        }
        return found | {"truth": hashlib.sha256(truth.read_bytes()).hexdigest()}


def main() -> None:
    """Write the sums or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="store the sums instead of comparing them")
    parser.add_argument("--first", type=int, metavar="N", help="compare only the first N tracks and the truth")
    args = parser.parse_args()
    head = f"# opencv {cv2.__version__}, {TRACKS} tracks, seed {SEED}"
    if args.write and args.first:
        parser.error("--write takes the whole set: leave --first out")
    if args.write:
        write_text(SUMS, "\n".join([head, *(f"{value}  {name}" for name, value in sums().items())]) + "\n")
        return
    if not SUMS.is_file():
        sys.exit(f"error: {SUMS} is missing: `hard` is not frozen yet")
    lines = SUMS.read_text(encoding="utf-8").splitlines()
    if lines[0] != head:
        sys.exit(f"error: {SUMS} was made with {lines[0]!r}, this is {head!r}")
    held = {name: value for value, name in (line.split() for line in lines[1:])}
    made = sums(args.first)
    changed = [name for name, value in made.items() if held.get(name) != value]
    if changed:
        sys.exit(f"error: {len(changed)} of {len(made)} differ, such as {', '.join(changed[:5])}")
    print(f"{len(made)} checksums hold")


if __name__ == "__main__":
    main()

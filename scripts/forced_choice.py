"""A test for a person who has not seen the generator: which of these strips are real?

python scripts/forced_choice.py make --real REAL_TRACKS --synthetic DIR/Scenario-B --out CHOICE
python scripts/forced_choice.py score CHOICE answers.txt

`make` writes pages of numbered pairs, one strip of each pair real and the other synthetic, both plates of one layout,
cut, enlarged and compressed alike, and beside the folder CHOICE_key.csv, which the judge must not open. A line of
answers.txt is a number and the side that looks real: `7 left`. Each track is shown once: strips of one track are known
again, and answers about them would count as one.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr.data.scan import scan
from lpr.files import write_text
from lpr.report.metrics import wilson

Image = NDArray[np.uint8]

#: Frames of a strip, and the size of one as shown, px: as large as a page holds, pixels still to be seen.
FRAMES, CELL = 3, (228, 88)
#: Shares of a frame's width and height that are cut away at most: other cuts of a track are other pictures.
CUT = (0.045, 0.06)
QUALITY = 85
ROWS = 8


def strip(folder: Path, real: bool, rng: np.random.Generator) -> Image:
    """FRAMES frames of a track in their order, uint8 (88, 690, 3) BGR: enlarged if need be, cut, compressed."""
    paths = sorted(folder.glob("lr-*"))
    chosen = np.sort(rng.permutation(len(paths))[:FRAMES])
    # One size and one cut a track: frames of a track move by their own.
    width, height = CELL if rng.random() < 0.5 else (177, 70)
    left, right, top, bottom = rng.uniform(0.6, 1, 4) * (CUT[0], CUT[0], CUT[1], CUT[1])
    cells = []
    for path in (paths[i] for i in chosen):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if not real:
            # What the figures did to the real ones: enlarged pixel by pixel and compressed, in the figures' sizes.
            image = _compress(cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST))
        h, w = image.shape[:2]
        image = image[round(top * h) : h - round(bottom * h), round(left * w) : w - round(right * w)]
        cells.append(cv2.resize(image, CELL, interpolation=cv2.INTER_LINEAR))
    gap = np.zeros((CELL[1], 3, 3), np.uint8)
    return _compress(np.hstack([part for cell in cells for part in (cell, gap)][:-1]))


def _compress(image: NDArray[np.uint8]) -> Image:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def shuffled(root: Path, rng: np.random.Generator) -> list[tuple[str, Path]]:
    """The labelled tracks below `root` in random order: letters and digits of the plate as L and D, and the folder."""
    tracks = [track for track in scan(root).tracks if track.text and track.lr]
    layouts = ["".join("D" if c.isdigit() else "L" for c in track.text or "") for track in tracks]
    return [(layouts[i], tracks[i].lr[0].path.parent) for i in rng.permutation(len(tracks))]


def make(real: Path, synthetic: Path, out: Path, seed: int) -> None:
    """Write the pages and the key: a pair for every real track."""
    rng = np.random.default_rng(seed)
    truly, every = shuffled(real, rng), shuffled(synthetic, rng)
    pairs = []
    for layout, folder in truly:
        # Of the same layout: which kinds of plates are common in a set says nothing of how they are drawn.
        match = next((other for other in every if other[0] == layout), None)
        if match is None:
            sys.exit(f"error: {synthetic} has too few tracks of {layout} plates for {folder.name}")
        every.remove(match)
        pairs.append((folder, match[1]))
    if not pairs:
        sys.exit(f"error: {real} has no tracks")
    out.mkdir(parents=True, exist_ok=True)
    key = io.StringIO()
    writer = csv.writer(key, lineterminator="\n")
    writer.writerow(("pair", "real_side", "real", "synthetic"))
    rows: list[Image] = []
    for number, (a, b) in enumerate(pairs, start=1):
        strips = [strip(a, True, rng), strip(b, False, rng)]
        side = ("left", "right")[int(rng.integers(2))]
        writer.writerow((number, side, a.name, b.name))
        rows.append(_row(number, strips if side == "left" else strips[::-1]))
    for page, start in enumerate(range(0, len(pairs), ROWS), start=1):
        cv2.imwrite(str(out / f"page-{page}.png"), np.vstack(rows[start : start + ROWS]))
    write_text(key_of(out), key.getvalue())
    print(f"{out}: {len(pairs)} pairs; keep {key_of(out)} from the judge")


def key_of(folder: Path) -> Path:
    """The key of a folder of pages: beside it, where whoever looks at the pages does not come across it."""
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}_key.csv")


def _row(number: int, strips: list[Image]) -> Image:
    """A pair with its number, uint8 (100, W, 3) BGR."""
    h, w = strips[0].shape[:2]
    row = np.full((h + 12, 60 + 2 * w + 24, 3), 90, np.uint8)
    row[6 : 6 + h, 60 : 60 + w] = strips[0]
    row[6 : 6 + h, 60 + w + 24 :] = strips[1]
    cv2.putText(row, str(number), (8, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2, cv2.LINE_AA)
    return row


def score(folder: Path, answers: Path) -> None:
    """Print how many pairs were told apart; guessing gives half."""
    if not key_of(folder).is_file():
        sys.exit(f"error: {key_of(folder)}: no such file; `make` writes it beside the pages")
    with key_of(folder).open(encoding="utf-8", newline="") as file:
        key = {row["pair"]: row for row in csv.DictReader(file)}
    hits: dict[str, bool] = {}
    given: set[str] = set()
    if not answers.is_file():
        sys.exit(f"error: {answers}: no such file")
    for line in answers.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        number, _, side = line.strip().lower().partition(" ")
        if number not in key or number in given or side.strip() not in ("left", "right"):
            sys.exit(f"error: {answers}: {line!r} is not the number of a pair (once each) and `left` or `right`")
        given.add(number)
        hits[key[number]["real"]] = side.strip() == key[number]["real_side"]
    told = sum(hits.values())
    share = wilson(told, len(hits))
    print(
        f"{told} of {len(hits)} pairs told apart: {100 * share.value:.1f} % "
        f"[{100 * share.low:.1f}, {100 * share.high:.1f}]; guessing gives 50 %"
    )
    for name, hit in sorted(hits.items()):
        print(f"  {name:<24} {'told apart' if hit else 'taken for synthetic'}")
    if missing := len(key) - len(given):
        print(f"{missing} pairs have no answer")


def main() -> None:
    """Make the pages or score the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    maker = verbs.add_parser("make", help="write pages and key")
    maker.add_argument("--real", type=Path, required=True)
    maker.add_argument("--synthetic", type=Path, required=True)
    maker.add_argument("--out", type=Path, required=True)
    maker.add_argument("--seed", type=int, default=0)
    scorer = verbs.add_parser("score", help="score a list of answers")
    scorer.add_argument("folder", type=Path)
    scorer.add_argument("answers", type=Path)
    args = parser.parse_args()
    if args.verb == "make":
        make(args.real, args.synthetic, args.out, args.seed)
    else:
        score(args.folder, args.answers)


if __name__ == "__main__":
    main()

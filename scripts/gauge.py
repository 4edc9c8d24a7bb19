"""Says how hard tracks are without training: the share of frames that an off-the-shelf reader gets right.

python scripts/gauge.py REAL_TRACKS     # 0 of 45 lr and 30 of 45 hr frames
python scripts/gauge.py DIR/Scenario-B --tracks 80             # wanted: lr under 5 %, hr 60 to 80 %

Needs rapidocr and onnxruntime, best in an environment of its own (they bring another OpenCV): the models lie in the
wheel and nothing is downloaded. Its recogniser is fed the lower three quarters of a crop, where the characters are; its
detector is left out, which misses half of such small plates and costs 50 times as much.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr.data.scan import scan
from lpr.report.metrics import wilson

Image = NDArray[np.uint8]


def load_reader() -> Callable[[Image], tuple[str, float]]:
    """The reader: uint8 (H, W, 3) BGR to text, capitals and digits only, and its score."""
    try:
        from rapidocr import RapidOCR
    except ImportError:
        sys.exit("error: rapidocr is missing\n  pip install rapidocr onnxruntime in an environment of its own")
    # One thread a session: the gauge shares its machine with training runs.
    engine = RapidOCR(params={"EngineConfig.onnxruntime.intra_op_num_threads": 1, "Global.log_level": "error"})

    def read(image: Image) -> tuple[str, float]:
        found = engine(image[image.shape[0] // 4 :], use_det=False, use_cls=False, use_rec=True)
        text = "".join(c for part in found.txts or () for c in part.upper() if c.isascii() and c.isalnum())
        return text, float(np.mean(found.scores)) if text else 0.0

    return read


def main() -> None:
    """Print the share of frames read exactly, by kind and layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tracks", type=int, default=80, help="at most so many, spread over the folder")
    parser.add_argument("--frames", type=int, default=5, help="of each kind and track, spread over its frames")
    parser.add_argument("--show", action="store_true", help="print every reading")
    args = parser.parse_args()
    read = load_reader()
    tracks = [track for track in scan(args.folder).tracks if track.text]
    chosen = np.unique(np.linspace(0, len(tracks) - 1, min(args.tracks, len(tracks))).astype(int))
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for track in (tracks[i] for i in chosen):
        for kind, frames in (("lr", track.lr), ("hr", track.hr)):
            for i in np.unique(np.linspace(0, len(frames) - 1, min(args.frames, len(frames))).astype(int)):
                text, _ = read(np.asarray(cv2.imread(str(frames[i].path), cv2.IMREAD_COLOR), np.uint8))
                for layout in ("all", track.layout or "no layout"):
                    right[kind, layout].append(text == track.text)
                if args.show:
                    print(f"{track.text}  {kind}  {text}")
    for (kind, layout), hits in sorted(right.items(), reverse=True):
        share = wilson(sum(hits), len(hits))
        percent = f"{100 * share.value:5.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
        print(f"{kind} {layout:<12} {sum(hits):4d} of {len(hits):4d} frames read exactly: {percent}")


if __name__ == "__main__":
    main()

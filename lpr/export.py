"""Write a checkpoint as one ONNX file, which reads without torch's network; with --int8 as one that reads faster.

python -m lpr.export --checkpoint runs/phase2 --out plates.onnx
python -m lpr.export --checkpoint brazil --int8 --tracks data/hard --out fast.onnx

lpr.infer --checkpoint plates.onnx, lpr.candidates and lpr.calibrate take the file like any other checkpoint, on the
CPU. Alphabet, input size, formats and calibration are in its metadata, under the key lpr, as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, console, run, show_problems, track_progress
from .config import ReadConfig
from .types import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .model.inference import Stack
    from .reader import Reader

EPILOG = """\
Before the file is written both networks read the same pictures, and what differs is printed: of random pictures, or of
tracks in --tracks, from all over the folder. With --int8 convolutions compute in 8 bits, in ranges that are measured on
every other one of these tracks (some hundred pictures like those to be read). A few readings change, and confidences
keep the fit of before: python -m lpr.calibrate --checkpoint fast.onnx --tracks DIR fits its own."""

#: Tracks that are read at most, half of them to measure ranges on; and so many at least.
TRACKS, FEWEST = 200, 20
#: Random pictures that both networks read where there are no tracks.
PICTURES = 32
#: Largest difference of a probability between two networks of float32; rounding alone gives less than a hundredth.
TOLERANCE = 1e-3
#: Share of the tracks that must be read alike: of `wide` ones, two fifths of them misread anyway, nine tenths were.
ALIKE = 0.7


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.export", __doc__ or "", EPILOG)
    parser.add_argument(
        "--checkpoint", metavar="PATH", help="as for lpr.infer; default: the newest run, shipped weights"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.onnx")
    parser.add_argument("--int8", action="store_true", help="convolutions of 8 bits")
    parser.add_argument("--tracks", type=Path, metavar="DIR", help="tracks or pictures like those to be read")
    args = parser.parse_args(argv)
    if args.out.suffix != ".onnx":
        raise UsageError("--out is FILE.onnx")
    if args.int8 and not args.tracks:
        raise UsageError("--int8 needs --tracks, whose pictures give the ranges", fix="python -m lpr.synth makes some")

    from .files import writable_folder
    from .reader import Reader

    reader = Reader(args.checkpoint, device="cpu")
    path, model = reader.checkpoint.path, reader.checkpoint.hash[:12]
    console().print(f"checkpoint: {path} ({reader.chosen}), model {model}", soft_wrap=True)

    from .model.checkpoint import read_metadata
    from .model.exported import save, to_int8, to_onnx

    metadata = read_metadata(path)
    stacks = _stacks(args.tracks, reader) if args.tracks else []
    writable_folder(args.out.parent)
    with console().status("exporting"):
        proto = to_onnx(reader.checkpoint)
        if args.int8:
            proto = to_int8(proto, _pictures(stacks[::2]))
    _compare(reader, proto.SerializeToString(), stacks[1::2] if args.int8 else stacks, args.int8)
    save(args.out, proto, {**metadata, "int8": args.int8})
    print(args.out)
    return 0


def _stacks(folder: Path, reader: Reader) -> list[Stack]:
    """Tracks of a folder that can be read, evenly over it."""
    from .data.scan import scan
    from .model.inference import read_stack

    tracks = scan(folder).tracks
    chosen = tracks[:: max(1, len(tracks) // TRACKS)][:TRACKS]
    stream = (read_stack(one, reader.config.input, reader.config.read) for one in chosen)
    read = list(track_progress(stream, "reading", len(chosen)))
    show_problems([problem for _, problems in read for problem in problems])
    stacks = [one for one, _ in read if len(one.frames)]
    if len(stacks) < FEWEST:
        raise InputError(f"holds {len(stacks)} readable tracks, too few", where=folder, fix=f"{FEWEST} or more")
    return stacks


def _pictures(stacks: Sequence[Stack]) -> NDArray[np.uint8]:
    import numpy as np

    return np.concatenate([pictures for one in stacks for pictures in (one.frames, one.merged)])


def _compare(reader: Reader, graph: bytes, stacks: Sequence[Stack], int8: bool) -> None:
    """Print how far the readings of a checkpoint and of what was exported of it differ; InputError for too far."""
    import numpy as np

    from .model.exported import OnnxNetwork
    from .model.inference import posteriors_of, stack

    config, alphabet = reader.config, reader.checkpoint.alphabet
    size = config.input
    if not stacks:
        shape = (PICTURES, size.channels, size.height, size.width)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        stacks = [stack("random", noise, [""] * PICTURES, ReadConfig(merged=0))]
    ours, theirs = (
        [posteriors_of(one, [track], alphabet, config.read.views)[0] for track in stacks]
        for one in (reader.model, OnnxNetwork(graph))
    )
    pairs = list(zip(ours, theirs, strict=True))
    most = max(
        float(np.abs(np.exp(a) - np.exp(b)).max())
        for one, other in pairs
        for a, b in zip(one.log_probs, other.log_probs, strict=True)
    )
    alike = sum(reader.decoder.decode(one).text == reader.decoder.decode(other).text for one, other in pairs)
    console().print(f"largest difference of a probability: {most:.2g}")
    console().print(f"{alike} of {len(pairs)} tracks are read alike")
    if not (most <= TOLERANCE or int8) or alike < ALIKE * len(pairs):
        raise InputError("what was exported reads otherwise; nothing was written", where=reader.checkpoint.path)


if __name__ == "__main__":
    run(main)

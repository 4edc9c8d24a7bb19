"""Write a checkpoint as one ONNX file, which reads without torch's network; with --int8 as one that reads faster.

python -m lpr.export --checkpoint runs/phase2 --out plates.onnx
python -m lpr.export --checkpoint brazil --int8 --tracks data/hard --out fast.onnx

lpr.infer --checkpoint plates.onnx, lpr.candidates and lpr.calibrate take the file like any other checkpoint, on the
CPU. Alphabet, input size, formats and calibration are in its metadata, under the key lpr, as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import Parser, console, run, track_progress
from .types import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .model.inference import Stack

EPILOG = """\
Both networks then read the same pictures, and what differs is printed: of random pictures, or of the tracks in --tracks
that were not used for the ranges. With --int8 convolutions compute in 8 bits, in the ranges that the first of these
tracks give (200 pictures or more, like those to be read; a few per cent of the readings may change):
python -m lpr.calibrate --checkpoint fast.onnx --tracks DIR fits its confidence anew."""

#: Tracks that ranges are measured on, and as many others that both networks read; of these, the fewest of each.
TRACKS, FEWEST = 80, 10
#: Random pictures that both networks read.
PICTURES = 32
#: Largest difference of a probability between two networks of float32; rounding alone gives less than a hundredth.
TOLERANCE = 1e-3


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
    from .reader import find_checkpoint

    path, chosen = find_checkpoint(args.checkpoint)

    from .model import checkpoint, exported

    source = checkpoint.load(path)
    console().print(f"checkpoint: {source.path} ({chosen}), model {source.hash[:12]}", soft_wrap=True)
    measured: list[Stack] = []
    held: list[Stack] = []
    if args.tracks:
        measured, held = _stacks(args.tracks, source, args.int8)
    writable_folder(args.out.parent)
    with console().status("exporting"):
        proto = exported.to_onnx(source)
        if args.int8:
            proto = exported.to_int8(proto, _pictures(measured))
        exported.save(args.out, proto, checkpoint.read_metadata(source.path))
    _compare(source, args.out, held, args.int8)
    print(args.out)
    return 0


def _stacks(folder: Path, source: Any, int8: bool) -> tuple[list[Stack], list[Stack]]:
    """The tracks that ranges are measured on (none for float32), and those that both networks read."""
    from .data.scan import scan
    from .model.inference import read_stack

    tracks = list(islice(scan(folder).tracks, 2 * TRACKS))
    config = source.config
    read = track_progress((read_stack(one, config.input, config.read) for one in tracks), "reading", len(tracks))
    stacks = [one for one, _ in read if len(one.frames)]
    # Every other one, since a folder may hold one scenario after the other.
    measured, held = (stacks[::2], stacks[1::2]) if int8 else ([], stacks)
    if len(held) < FEWEST:
        raise InputError(f"holds {len(stacks)} readable tracks, too few", where=folder, fix=f"{2 * FEWEST} or more")
    return measured, held


def _pictures(stacks: Sequence[Stack]) -> NDArray[np.uint8]:
    import numpy as np

    return np.concatenate([pictures for one in stacks for pictures in (one.frames, one.merged)])


def _compare(source: Any, path: Path, held: Sequence[Stack], int8: bool) -> None:
    """Print how far the readings of a checkpoint and of what was exported of it differ; InputError for too much."""
    import numpy as np
    import torch

    from .decode.decode import weigh_track
    from .model import exported
    from .model.inference import folded, posteriors_of

    networks: list[Any] = [folded(source.model), exported.load(path).model]
    config, alphabet = source.config, source.alphabet
    pictures = (
        _pictures(held)
        if held
        else np.random.default_rng(0).integers(
            0, 256, (PICTURES, config.input.channels, config.input.height, config.input.width), np.uint8
        )
    )
    with torch.inference_mode():
        ours, theirs = (one.together(torch.from_numpy(pictures), torch.arange(len(pictures)))[0] for one in networks)
    most = float((ours.exp() - theirs.exp()).abs().max())
    console().print(f"largest difference of a probability, {len(pictures)} pictures: {most:.2g}")
    if held:
        texts = [
            [weigh_track(found, config.read, source.formats, 0)[0].text for found in posteriors_of(one, held, alphabet)]
            for one in networks
        ]
        alike = sum(one == other for one, other in zip(*texts, strict=True))
        console().print(f"{alike} of {len(held)} tracks are read alike")
    if most > TOLERANCE and not int8:
        path.unlink()
        raise InputError(f"reads otherwise than {source.path}; nothing was written", where=path)


if __name__ == "__main__":
    run(main)

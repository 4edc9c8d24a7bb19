"""The end of a run: calibrate the best checkpoint's confidence and write down how it reads the held-out tracks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from ..config import Config
from ..data.splits import Split
from ..decode.confidence import ENOUGH_RIGHT, RANKED, fit, method_name
from ..decode.decode import rank_of, weigh_tracks
from ..decode.records import to_record
from ..decode.stored import Decoder
from ..files import write_text
from ..formats import PlateFormat, load_formats
from ..model import checkpoint
from ..types import Track
from .display import Display
from .run import RunFolder
from .unreadable import UnreadableFrames
from .validate import decode_all, read_posteriors, score, unreadable


def finish(
    run: RunFolder,
    config: Config,
    split: Split,
    device: torch.device,
    display: Display,
    frames: UnreadableFrames,
) -> None:
    """Store a calibration fitted on the calibrate fold in the best checkpoint, and write val_predictions.jsonl.

    The select fold chose the checkpoint, so its scores flatter; the calibrate fold's do not, and its are printed.
    Where the folds were trained on (`split.train_on_all`), their readings tell nothing: there is no calibration then.
    """
    held_out = split.held_out()
    best = checkpoint.load(run.best, device)
    tracks = (*split.select, *split.calibrate)
    read = read_posteriors(best.model, tracks, config)
    problems = unreadable(read[len(split.select) :])
    frames.name(problems)
    frames.count(len(problems), sum(len(track.lr) for track in split.calibrate), "frames held out to calibrate")
    formats = load_formats(config.read.formats)
    weighed = weigh_tracks([one for one, _ in read[len(split.select) :]], config.read, formats, RANKED - 1)
    raw = [prediction for prediction, _ in weighed]
    scores = score(raw, split.calibrate)
    figures, calibration = best.figures, None
    extra: dict[str, Any] = {"split": held_out.to_dict()}
    if held_out.calibrate:
        ranks = [rank_of(t.text or "", p) for p, t in zip(raw, split.calibrate, strict=True)]
        right, evidence = [rank == 0 for rank in ranks], [found for _, found in weighed]
        # A format that was trained on, but of which none is held out, has a curve that never saw it.
        unseen = [one.name for one in formats if _shown(one, split.train) and not _shown(one, split.calibrate)]
        names = [one.name for one in formats if one.name not in unseen]
        calibration = fit(evidence, right, method_name(config.read, formats), names, ranks)
        figures = {**figures, "calibrate": {"tracks": scores.tracks, **scores.shares()}}
        extra["calibration"] = calibration.to_dict()
    extra["figures"] = figures
    model_hash = checkpoint.save(run.best, best.model, config, extra)

    audit = Decoder(config, formats, calibration, model_hash, str(run.best)).audit()
    lines = [json.dumps(to_record(p, audit), ensure_ascii=False) for p in decode_all(read, config, calibration)]
    write_text(run.predictions, "\n".join(lines) + "\n")
    if calibration is None:
        display.line(
            f"last checkpoint, epoch {figures['epoch']}: trained on all plates, so none here tells how well it reads "
            "or how sure to be: python -m lpr.calibrate fits its confidence on other tracks"
        )
        return
    display.line(
        f"best checkpoint, epoch {figures['epoch']}: on {scores.tracks} tracks that it was not chosen by: exact "
        f"{scores.exact:.1%} (single frame {scores.exact_single:.1%}), characters {scores.characters:.1%}"
    )
    fix = "python -m lpr.calibrate fits it on more"
    if calibration.right < ENOUGH_RIGHT:
        display.line(
            f"WARNING: {calibration.right} of {calibration.tracks} tracks held out to calibrate are read rightly: "
            f"fewer than {ENOUGH_RIGHT} give a rough confidence, and no limit for what is no plate; {fix}, or raise "
            "split.val_share"
        )
    if unseen:
        display.line(
            f"WARNING: no track held out to calibrate shows a plate of {', '.join(unseen)}, which was trained on: with "
            f"it no confidence counts as calibrated; {fix}"
        )


def _shown(plate_format: PlateFormat, tracks: Sequence[Track]) -> bool:
    """Whether the text of any of the tracks obeys the format."""
    return any(plate_format.matches(track.text or "") for track in tracks)

"""Fit a checkpoint's confidence anew on labelled tracks; of several checkpoints the weights in an ensemble, too.

python -m lpr.calibrate --checkpoint runs/phase2 --tracks DIR
python -m lpr.calibrate --checkpoint runs/phase2 --tracks posteriors.npz --truth truth.csv
python -m lpr.calibrate --checkpoint runs/one runs/two --tracks DIR --out runs/ensemble.json

The checkpoint's file is rewritten, or with --out a copy of it; its weights and its hash stay. The texts of all
predictions stay too. Where the calibration of before fits these tracks better, as it may where they are few, nothing is
written. Of several checkpoints none is touched: --out receives an ensemble file, which lpr.infer takes as one
--checkpoint.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, console, run, show_problems, track_progress
from .types import InputError, Posteriors, Problem, UsageError

if TYPE_CHECKING:
    from .data.splits import HeldOut
    from .decode.confidence import Calibration, Evidence
    from .ensemble import Ensemble

EPILOG = """\
The tracks should be like those to be read, and the network must not have been trained on them: where they are the data
it was trained on, only those of the calibration fold are used. Some hundred tracks are enough. The weights of an
ensemble are chosen on half of the plates, by text (of training data: on the selection fold), and confidences fitted on
the others.
--truth: a CSV with the header track_id,text; default: the labels in --tracks."""

#: A folder that holds so much of the calibration fold is taken for the data of the training.
TRAINED_ON = 0.5

#: Weights that a member is tried with against the first one's 1; of equally good ones the first.
RATIOS = (1.0, 0.7, 1.4, 0.5, 2.0, 0.25, 4.0, 0.1, 0.0)

#: Texts of a track and of each of its frames that the right one is compared with.
CANDIDATES = 5


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.calibrate", __doc__ or "", EPILOG)
    parser.add_several("--checkpoint", "PATH", "a run, its best folder or its file; several are an ensemble")
    parser.add_argument("--tracks", required=True, type=Path, metavar="DIR", help="tracks, or a posteriors.npz")
    parser.add_argument("--truth", type=Path, metavar="DIR|CSV", help="the true texts; default: the labels in --tracks")
    parser.add_several("--set", "K=V", "reading settings to calibrate and to keep")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the ensemble file (.json) or, of one, the copy to write"
    )
    parser.add_argument("--device", help="torch device; default: the GPU where there is one")
    args = parser.parse_args(argv)
    several = len(args.checkpoint) > 1
    if not args.checkpoint or args.checkpoint[0].endswith(".json"):
        raise UsageError("--checkpoint: name the checkpoint to calibrate, or the members of an ensemble")
    if several and (not args.out or args.out.suffix != ".json"):
        raise UsageError("several --checkpoint need --out FILE.json")

    from .model import checkpoint, exported
    from .reader import find_checkpoint

    onnx = find_checkpoint(args.checkpoint[0])[0].suffix == exported.SUFFIX
    suffix = exported.SUFFIX if onnx else ".safetensors"
    if not several and args.out and args.out.suffix != suffix:
        raise UsageError(f"--out of one --checkpoint is FILE{suffix}")

    from .decode.stored import SUFFIX, StoredPosteriors

    stored = StoredPosteriors(args.tracks) if args.tracks.suffix == SUFFIX else None
    if stored and not args.truth:
        raise InputError("holds no labels", where=args.tracks, fix="name them with --truth")

    from .report.outcomes import read_truth

    truth, problems = read_truth(args.truth or args.tracks)
    texts = {track.id: track.text or "" for track in truth}

    from .data.scan import scan
    from .decode.confidence import ENOUGH, ENOUGH_RIGHT, RANKED, curve_loss, fit, held_out_loss, method_name
    from .decode.decode import rank_of, weigh_tracks
    from .ensemble import Ensemble

    ensemble = Ensemble(args.checkpoint, settings=args.set, device=args.device)
    decoder, read = ensemble.decoder, ensemble.decoder.config.read
    if several and read.fusion != "sequence":
        raise UsageError(
            f"read.fusion={read.fusion} does not weigh several checkpoints", fix="--set read.fusion=sequence"
        )
    if stored and stored.decoder.model_hash != decoder.model_hash:
        raise InputError(
            f"was not made by {' and '.join(args.checkpoint)}", where=args.tracks, fix="read the tracks with it again"
        )
    if stored:
        stored.require_looks(read)
    for reader in ensemble.readers:
        if reader.checkpoint.config.split.train_on_all:
            say = "WARNING: {0} was trained on all plates of its data: if these are among them, it will be too sure"
            console().print(say.format(reader.checkpoint.path), style="bold red")
    choosing, texts = _folds(texts, [reader.checkpoint.split for reader in ensemble.readers], several)
    wanted = choosing | texts
    tracks = [] if stored else [track for track in scan(args.tracks).tracks if track.id in wanted]
    stream = (one for one, _ in stored or ensemble.posteriors(tracks) if one.track_id in wanted)
    found = {one.track_id: one for one in track_progress(stream, "reading", len(wanted))}
    show_problems(
        [*problems, *(Problem(i, "has a truth but no frames, and is left out") for i in wanted if i not in found)]
    )
    if several:
        ensemble.weights = _weights([(found[i], t) for i, t in choosing.items() if i in found], ensemble)
    kept = [(ensemble.weighted(found[i]), text) for i, text in texts.items() if i in found]
    weighed = weigh_tracks([one for one, _ in kept], read, decoder.formats, RANKED - 1)
    evidence = [found for _, found in weighed]
    ranks = [rank_of(text, prediction) for (prediction, _), (_, text) in zip(weighed, kept, strict=True)]
    right = [rank == 0 for rank in ranks]
    if not right:
        raise InputError("no track is left to calibrate on", where=args.tracks, fix="add tracks")
    if len(set(right)) < 2:
        what = "all of them are read rightly" if any(right) else "none of them is read rightly"
        raise InputError(f"{len(right)} tracks cannot calibrate: {what}", where=args.tracks, fix="add tracks")
    method = method_name(read, decoder.formats)
    calibration = fit(evidence, right, method, [one.name for one in decoder.formats], ranks)
    # The present one, where it is one for these formats, read alike; of several checkpoints there is none.
    before = decoder.calibration if decoder.calibrated and not several else None
    if before and calibration.right < ENOUGH_RIGHT:
        limits = {name: getattr(before, name) for name in ("least_raw", "least_mass", "most_entropy")}
        calibration = replace(calibration, **limits)
    if before and len(right) - calibration.right < ENOUGH:
        calibration = replace(calibration, power=before.power)
    if not several:
        print(f"before: {_figures(decoder.calibration, evidence, right, calibration.method)}")
    print(f"after:  {_figures(calibration, evidence, right, calibration.method)}")
    # On a few tracks that it was fitted on any curve looks good.
    few = len(right) < ENOUGH
    loss = held_out_loss(evidence, right) if few else curve_loss(calibration, evidence, right)
    if before and curve_loss(before, evidence, right) < loss:
        raise InputError(
            f"{len(right)} tracks calibrate worse than it is calibrated already; nothing was written",
            where=args.tracks,
            fix="add tracks",
        )
    target = args.out or ensemble.readers[0].checkpoint.path
    if several:
        ensemble.save(target, calibration)
        said = ", ".join(
            f"{w:.2f} {r.checkpoint.path}" for w, r in zip(ensemble.weights, ensemble.readers, strict=True)
        )
        console().print(f"weights: {said}")
    else:
        source = ensemble.readers[0].checkpoint.path
        recalibrate = exported.recalibrate if onnx else checkpoint.recalibrate
        recalibrate(source, calibration.to_dict(), read.model_dump(mode="json"), decoder.formats, target)
    console().print(f"fitted on {calibration.tracks} tracks, of which {calibration.right} are read rightly")
    if not (calibration.least_raw or calibration.least_mass or calibration.most_entropy):
        say = "WARNING: fewer than {0} right readings tell no limit for what is no plate: it may get any confidence"
        console().print(say.format(ENOUGH_RIGHT), style="bold red")
    if len(right) < ENOUGH:
        console().print(f"WARNING: fewer than {ENOUGH} tracks give a rough confidence: add tracks", style="bold red")
    print(target)
    return 0


def _folds(
    texts: dict[str, str], splits: Sequence[HeldOut | None], several: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """The tracks to choose an ensemble's weights on, none for one checkpoint, and those to calibrate on."""
    trained = [split for split in splits if split and _is_training_data(texts, split)]
    if not trained:
        if any(splits):
            console().print(
                "taken for other tracks than the training's, whose held-out plates they lack: of a part of its data "
                "the confidences would be too high"
            )
        if not several:
            return {}, texts
        # Not the last three bits, by which the generator parts test texts from others (plates/texts.py).
        choosing = {i: text for i, text in texts.items() if zlib.crc32(text.encode()) >> 3 & 1}
        return choosing, {i: text for i, text in texts.items() if i not in choosing}
    # What one member was trained on says nothing of the others' worth.
    select, calibrate = (
        frozenset.intersection(*folds)
        for folds in zip(*((split.select, split.calibrate) for split in trained), strict=True)
    )
    kept = {track_id: text for track_id, text in texts.items() if text in calibrate}
    console().print(f"these are the data of the training: only the {len(kept)} tracks held out to calibrate are used")
    return {i: text for i, text in texts.items() if several and text in select}, kept


def _is_training_data(texts: dict[str, str], split: HeldOut) -> bool:
    return bool(split.calibrate) and len(split.calibrate & set(texts.values())) >= TRAINED_ON * len(split.calibrate)


def _weights(tracks: Sequence[tuple[Posteriors, str]], ensemble: Ensemble) -> tuple[float, ...]:
    """The members' weights under which the right texts of some tracks are likeliest among the best, summing to 1."""
    import numpy as np

    from .decode.ctc import clean, text_log_probs
    from .decode.decode import fused_evidence
    from .decode.nbest import lifted, n_best_tracks

    if not tracks:
        raise InputError("no track is left to choose weights on", fix="add tracks")
    read, formats, alphabet = ensemble.decoder.config.read, ensemble.decoder.formats, ensemble.alphabet
    members = len(ensemble.readers)
    known = []  # per track: logs of its texts under each array (F, N), the arrays' own weights, where the right one is
    for one, text in tracks:
        arrays, own, *_ = fused_evidence([clean(array, alphabet) for array in one.log_probs], read, formats, alphabet)
        if not arrays:
            continue
        found = n_best_tracks([arrays, *([array] for array in arrays)], formats, alphabet, CANDIDATES)
        texts = sorted({candidate for each in found for candidate, _ in each.texts})
        if text in texts:
            logs = np.stack([text_log_probs(lifted(array)[None], texts, alphabet)[0] for array in arrays])
            known.append((logs, np.array(own).reshape(members, -1), texts.index(text)))

    def likelihood(weights: Sequence[float]) -> float:
        total = 0.0
        for logs, own, at in known:
            share = (own * np.array(weights)[:, None]).ravel()
            values = share / share.sum() @ logs if share.sum() > 0 else np.zeros(logs.shape[1])
            total += values[at] - np.logaddexp.reduce(values)
        return total

    weights = [1.0] * members
    for member in range(1, members):
        tried = [[*weights[:member], ratio, *weights[member + 1 :]] for ratio in RATIOS]
        weights = max(tried, key=likelihood)
    return tuple(weight / sum(weights) for weight in weights)


def _figures(calibration: Calibration | None, evidence: list[Evidence], right: list[bool], method: str) -> str:
    """How well confidences fit these tracks: error, gap and AUROC; without a calibration those of the raw values."""
    from .report.metrics import auroc, calibration_error, confidence_gap

    serves = calibration is not None and calibration.method in ("", method)
    sure = [calibration.apply(one) if calibration and serves else one.raw for one in evidence]
    return (
        f"calibration error {calibration_error(sure, right).value:.3f}, confidence gap "
        f"{confidence_gap(sure, right).value:.3f}, AUROC {auroc(sure, right):.3f}"
        + ("" if serves else f" (raw values: it has no calibration for {method})")
    )


if __name__ == "__main__":
    run(main)

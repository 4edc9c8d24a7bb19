"""What a run needs before its first step: tracks, their split, weights to start from, and the checks of all three."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config
from ..data.labels import check_labels
from ..data.scan import scan
from ..data.splits import Split, split_tracks
from ..model import checkpoint
from ..model.recogniser import Recogniser
from ..types import InputError, Track
from .run import fingerprint, split_texts

#: What must agree between a checkpoint and the run that starts from it: everything the weights' shapes depend on.
ARCHITECTURE = (
    ("model", "name"), ("model", "timm_name"), ("model", "hidden"), ("model", "layers"),
    ("input", "height"), ("input", "width"), ("input", "channels"),
)  # fmt: skip

#: Lines about the data before training; the doctor shows all.
SHOWN_PROBLEMS = 10

HeldOut = tuple[frozenset[str], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """`facts` (split texts and fingerprint, JSON values) go into every state; `notes` are lines for the screen."""

    split: Split
    facts: dict[str, Any]
    notes: list[str]


def prepare(config: Config, data: Path, model: Recogniser, held_out: HeldOut | None) -> Prepared:
    """Scan `data`, check its labels against the alphabet and the network's steps, and split it.

    held_out: the (select, calibrate) texts of an earlier phase or of the run being resumed. InputError for labels
    beyond the allowed share of bad ones, too few tracks, or nothing left to train on.
    """
    found = scan(data)
    tracks, report = check_labels(
        found.tracks,
        config.model.alphabet,
        max_bad=config.data.max_bad_labels,
        strict=config.data.strict,
        steps=model.steps,
    )
    if config.data.strict and found.problems:
        raise InputError(str(found.problems[0]), where=data, fix="mend it, or train without data.strict")
    if model.slot_head is not None:
        check_slots(tracks, model.slots)
    split = split_tracks(tracks, config.split, held_out)
    chosen = tuple(t for t in split.train if not config.data.scenarios or t.scenario in config.data.scenarios)
    if not any(track.frames for track in chosen):
        raise InputError(
            "holds no tracks to train on" + (f" of scenario {', '.join(config.data.scenarios)}" if split.train else ""),
            where=data,
            fix="look at it with python -m lpr.check, or change data.scenarios",
        )
    split = Split(train=chosen, select=split.select, calibrate=split.calibrate)
    problems = [*found.problems, *report.problems]
    notes = [f"{p.severity}: {p}" for p in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        notes.append(f"... and {len(problems) - SHOWN_PROBLEMS} more; python -m lpr.check {data} lists them all")
    notes.append(f"{found.normalised + report.normalised} labels normalised (blanks, hyphens, dots, lower case)")
    notes.append(
        f"{len(chosen)} tracks to train on ({sum(len(t.frames) for t in chosen)} frames), held out: "
        f"{len(split.select)} to select by, {len(split.calibrate)} to calibrate"
    )
    return Prepared(split, {"split": split_texts(split), "fingerprint": fingerprint(tracks)}, notes)


def check_slots(tracks: list[Track], slots: int) -> None:
    """InputError naming the first track whose label is longer than the slot head."""
    for track in tracks:
        if track.text is not None and len(track.text) > slots:
            raise InputError(
                f"label {track.text} of track {track.id} has {len(track.text)} characters, the slot head {slots} slots",
                where="read.formats",
                fix="name a format that allows it, or --set model.slot_head=false",
            )


def initialise(model: Recogniser, config: Config) -> HeldOut | None:
    """Copy the weights of `train.init_from` into `model`; returns the texts held out when they were trained.

    The training-only heads are taken over where both have them. InputError where alphabet or architecture differ.
    """
    path = checkpoint.find(config.train.init_from)
    start = checkpoint.load(path)
    if start.alphabet != config.model.alphabet:
        raise InputError(
            f"was trained for the alphabet {start.alphabet}, this run's is {config.model.alphabet}",
            where=path,
            fix="train.init_from needs a checkpoint of the same alphabet",
        )
    differences = [
        f"{section}.{name} {getattr(getattr(start.config, section), name)!r} there, "
        f"{getattr(getattr(config, section), name)!r} here"
        for section, name in ARCHITECTURE
        if getattr(getattr(start.config, section), name) != getattr(getattr(config, section), name)
        # The name of a timm model means something only where timm is used.
        and (name != "timm_name" or config.model.name == "timm")
    ]
    if differences:
        raise InputError(
            "is of another architecture: " + "; ".join(differences),
            where=path,
            fix="use the presets and settings of the run it comes from",
        )
    checkpoint.load_tensors(model, start.model.state_dict(), path, auxiliary=False)
    return start.split

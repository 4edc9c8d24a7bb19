"""What a run needs before its first step: tracks, their split, weights to start from, and the checks of all three."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config import Config
from ..data.declared import declared_test
from ..data.scan import SAME_ID
from ..data.sources import Sources, check_names, mix_shares, read_sources, shown
from ..data.splits import HeldOut, Split, split_tracks
from ..formats import format_of, load_formats
from ..model import checkpoint
from ..model.recogniser import Recogniser
from ..model.steps import step_table
from ..types import InputError
from .run import fingerprint
from .watch import label_notes

#: What must agree between a checkpoint and the run that starts from it: everything the weights' shapes depend on.
ARCHITECTURE = (
    ("model", "name"), ("model", "timm_name"), ("model", "sequence"), ("model", "hidden"), ("model", "layers"),
    ("input", "height"), ("input", "width"), ("input", "channels"),
)  # fmt: skip
#: What a run may have more of than its start, because it begins as the identity, but not less.
GROWING = tuple(("model", name) for name in ("residual", "residual_fine", "mixing", "stn", "temporal"))

#: Lines about the data before training; the doctor shows all.
SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class Prepared:
    """`facts` (split texts and fingerprint, JSON values) go into every state; `notes` are lines for the screen."""

    split: Split
    facts: dict[str, Any]
    notes: list[str]


def prepare(config: Config, data: Sources, model: Recogniser, held_out: HeldOut | None) -> Prepared:
    """Scan `data`, check its labels against the alphabet and the network's steps, and split it.

    held_out: the texts of an earlier phase or of the run being resumed. InputError for labels beyond the allowed share
    of bad ones, sources that the configuration does not fit, too few tracks, or nothing left to train on.
    """
    check_names(config, data)
    found = read_sources(data, config, model.steps, None if model.slot_head is None else model.slots)
    split = split_tracks(found.tracks, config.split, held_out)
    earlier = frozenset().union(*held_out) if held_out else frozenset()
    wanted = [t for t in split.train if not config.data.scenarios or t.scenario in config.data.scenarios]
    shares = mix_shares(config, wanted)
    chosen = tuple(track for track in wanted if not shares or track.source in shares)
    if not any(track.frames for track in chosen):
        raise InputError(
            "holds no tracks to train on" + (f" of scenario {', '.join(config.data.scenarios)}" if split.train else ""),
            where=shown(data),
            fix="look at it with python -m lpr.check, or change data.scenarios",
        )
    split = replace(split, train=chosen)
    problems = [problem for problem in found.problems if not problem.what.startswith(SAME_ID)]
    notes = [f"{p.severity}: {p}" for p in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        notes.append(f"... and {len(problems) - SHOWN_PROBLEMS} more; python -m lpr.check DIR lists them all")
    if len(problems) < len(found.problems):
        # Several sets below one folder: a fault in what is submitted, none in what is learnt.
        notes.append(f"{len(found.problems) - len(problems)} tracks have the id of another one and go by their paths")
    notes += label_notes(found.problems)
    notes.append(f"{found.normalised} labels normalised (blanks, hyphens, dots, lower case)")
    texts = (track.text or "" for track in found.tracks)
    notes += step_table(model, config.input, load_formats(config.read.formats), texts)
    notes += [
        f"{share:.0%} of the samples from {name}: {sum(t.source == name for t in chosen)} tracks"
        for name, share in shares.items()
    ]
    count = f"{len(chosen)} tracks to train on ({sum(len(t.frames) for t in chosen)} frames)"
    if config.split.train_on_all:
        notes.append(
            f"{count}, nothing held out: the scores of {len(split.select)} of them tell that it learns, no more"
        )
    else:
        notes.append(
            f"{count}, held out: {len(split.select)} to select by, {len(split.calibrate)} to calibrate"
            + (f", {len(split.test)} to test" if split.test else "")
        )
    formats = load_formats(config.read.formats)
    if strange := [t.text for t in found.tracks if t.text and not format_of(t.text, formats)]:
        names = ", ".join(one.name for one in formats)
        # Other labels are some that are wrong, or of another country; all of them are this configuration's fault.
        every = len(strange) == sum(bool(t.text) for t in found.tracks)
        notes.append(
            ("WARNING: all " if every else "")
            + f"{len(strange)} labels, such as {strange[0]}, obey no format of read.formats ({names}): a constrained "
            "decoder never reads them rightly" + ("; --set 'read.formats=[NAME]'" if every else "")
        )
    if config.model.super_resolution and config.data.hr_frames not in ("degraded", "both"):
        notes.append(
            f"model.super_resolution has no effect with data.hr_frames={config.data.hr_frames}: it wants degraded"
        )
    for name, path in [("", data)] if isinstance(data, Path) else data.items():
        # A list may name tracks that lie anywhere; looking at every folder below one takes seconds.
        listed = [track for track in found.tracks if track.source == name] if path.is_file() else []
        if why := declared_test(path, listed):
            notes.append(f"WARNING: {path} is a test set ({why}): what is trained on it cannot be tested on it")
    own = {track.text for fold in (split.select, split.calibrate, split.test) for track in fold}
    if own and not own & earlier and any(track.text in earlier for track in found.tracks):
        notes.append(
            f"WARNING: {shown(data)} holds plates that {config.train.init_from} held out, but others are held out now. "
            "If it trained on these, all scores and confidences are too high: keep its split.validate_on"
        )
    facts = {
        "split": split.held_out().to_dict(),
        "folds": split.folds().to_dict(),
        "fingerprint": fingerprint(found.tracks),
        "tracks": len(found.tracks),
    }
    return Prepared(split, facts, notes)


def initialise(model: Recogniser, config: Config) -> tuple[HeldOut | None, list[str]]:
    """Copy the weights of `train.init_from` into `model`; returns the texts held out when they were trained, and notes.

    The training-only heads are taken over where both have them; blocks that the start lacks stay as they are drawn,
    which is the identity. InputError where alphabet or architecture differ.
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
        for section, name in ARCHITECTURE + GROWING
        if getattr(getattr(start.config, section), name) != getattr(getattr(config, section), name)
        # The name of a timm model means something only where timm is used.
        and (name != "timm_name" or config.model.name == "timm")
        and (
            (section, name) not in GROWING
            or getattr(getattr(start.config, section), name) > getattr(getattr(config, section), name)
        )
    ]
    if differences:
        words = " ".join(
            f"model.{name}={str(value).lower()}"
            for _, name in GROWING
            if (value := getattr(start.config.model, name)) > getattr(config.model, name)
        )
        raise InputError(
            "is of another architecture: " + "; ".join(differences),
            where=path,
            fix="use the presets and settings of the run it comes from" + (f": --set {words}" if words else ""),
        )
    checkpoint.load_tensors(model, start.model.state_dict(), path, later_phase=True)
    notes = []
    if start.config.split.train_on_all and not config.split.train_on_all:
        notes.append(
            f"WARNING: {path} was trained on all plates of its data: if they are these, validation knows them already"
        )
    return start.split, notes

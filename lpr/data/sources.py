"""Data sources of a training run: one folder, or several with names, mixed by `data.mix`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import Config
from ..types import InputError, Problem, Track, UsageError
from .labels import check_labels
from .scan import scan

_NAMED = re.compile(r"([A-Za-z][\w-]*)=(.+)", re.DOTALL)


#: One folder or label list, or several with names.
Sources = Path | Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Found:
    """Usable tracks of all sources, what is wrong with the data, and how many labels were normalised."""

    tracks: tuple[Track, ...]
    problems: tuple[Problem, ...]
    normalised: int


def parse_sources(values: Sequence[str]) -> Sources:
    """`--data`: one folder or list, or NAME=PATH for each of several. UsageError for anything else."""
    if len(values) == 1 and (Path(values[0]).exists() or not _NAMED.fullmatch(values[0])):
        return Path(values[0])
    sources: dict[str, Path] = {}
    for value in values:
        match = _NAMED.fullmatch(value)
        if not match:
            raise UsageError(f"--data {value}: several sources need names", fix="as --data synthetic=DIR real=DIR2")
        if match[1] in sources:
            raise UsageError(f"--data names the source {match[1]!r} twice")
        sources[match[1]] = Path(match[2])
    return sources


def shown(sources: Sources) -> str:
    """The sources as they stand on the command line."""
    return str(sources) if isinstance(sources, Path) else " ".join(f"{name}={path}" for name, path in sources.items())


def check_names(config: Config, sources: Sources) -> None:
    """InputError unless the configuration speaks of no other sources than these, and `data.mix` of all of them."""
    names = () if isinstance(sources, Path) else tuple(sources)
    has = f"--data has {', '.join(names)}" if names else "--data names none"
    spoken_of = {
        "data.mix": tuple(config.data.mix),
        "augment.sources": tuple(config.augment.sources),
        "split.validate_on": (config.split.validate_on,) if config.split.validate_on else (),
    }
    for setting, used in spoken_of.items():
        for name in used:
            if name not in names:
                raise InputError(f"unknown source {name!r}: {has}", where=setting, fix=f"add --data {name}=DIR")
    for name in names:
        if config.data.mix and name not in config.data.mix:
            raise InputError(f"has no share for the source {name!r}", where="data.mix", fix="0 scans it only")


def read_sources(sources: Sources, config: Config, steps: int, slots: int | None = None) -> Found:
    """Scan every source, in the order of their names, and keep the tracks whose labels a network can learn: in `steps`
    CTC steps, and with a slot head in its `slots`.

    An id that two sources have is put behind the name of its source. InputError for a source whose labels are worse
    than `config.data` allows.
    """
    tracks: list[Track] = []
    problems: list[Problem] = []
    normalised = 0
    for name, path in [("", sources)] if isinstance(sources, Path) else sorted(sources.items()):
        found = scan(path)
        try:
            usable, report = check_labels(
                found.tracks,
                config.model.alphabet,
                max_bad=config.data.max_bad_labels,
                strict=config.data.strict,
                steps=steps,
                slots=slots,
            )
        except InputError as error:
            wrong = [problem for problem in found.problems if problem.severity == "error"]
            if not wrong:
                raise
            # Labels that match no image leave images without a label: what the lists say is the cause.
            said = f"{error.problem.what}; {len(wrong)} errors in the data, the first: {wrong[0]}"
            raise InputError(said, where=path, fix=error.problem.fix) from error
        if config.data.strict and found.problems:
            raise InputError(str(found.problems[0]), where=path, fix="mend it, or train without data.strict")
        tracks += [replace(track, source=name) for track in usable] if name else usable
        problems += [*found.problems, *report.problems]
        normalised += found.normalised + report.normalised
    ids = Counter(track.id for track in tracks)
    unique = (replace(t, id=f"{t.source}_{t.id}") if ids[t.id] > 1 else t for t in tracks)
    return Found(tuple(unique), tuple(problems), normalised)


def mix_shares(config: Config, tracks: Sequence[Track]) -> dict[str, float]:
    """Source -> its share of the samples, above 0, all together 1; the sources of `tracks` where there is no mix: {}.

    InputError for a source that is to be trained on but has no LR frame.
    """
    total = sum(config.data.mix.values())
    shares = {name: share / total for name, share in sorted(config.data.mix.items()) if share > 0}
    for name in shares:
        if not any(track.lr for track in tracks if track.source == name):
            raise InputError(f"the source {name!r} has no LR frame to train on", where="data.mix")
    return shares

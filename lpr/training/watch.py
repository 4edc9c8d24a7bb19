"""Checks that speak: what commonly goes wrong in training, each said once, with its cause and a remedy."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from ..config import Config
from ..types import Prediction, Problem

#: A network that learns reads something by then; the plateau of blanks lasts that long even where all is well.
STEPS_TO_LEARN = 1000
#: CTC stands still where an epoch lowers it by less than this share.
STANDING = 0.03
#: A loss that stays within this share over so many epochs is flat.
FLAT, FLAT_EPOCHS = 0.01, 5
#: Share of the time spent waiting for data from which on the loader is what slows a run down.
WAITING = 0.3


class Watch:
    """Looks at each epoch's figures and readings, and warns by `line`."""

    def __init__(self, line: Callable[[str], None], config: Config) -> None:
        self._line, self._config = line, config
        self._said: set[str] = set()

    def _say(self, check: str, text: str) -> None:
        if check not in self._said:
            self._said.add(check)
            self._line(f"warning: {text}")

    def readings(self, predictions: Sequence[Prediction], texts: Sequence[str]) -> None:
        """Held-out tracks of different `texts` that are all read the same, or as nothing."""
        read = {prediction.text for prediction in predictions}
        if len(set(texts)) > 1 and len(read) == 1:
            text = read.pop()
            self._say(
                "constant",
                f"all {len(texts)} held-out tracks are read as {text!r}: the network does not look at the picture yet. "
                "Usual in the first epochs; if it stays, check that labels belong to their images (python -m "
                "lpr.check), lower train.lr, or set train.curriculum_steps",
            )

    def figures(self, rows: Sequence[Mapping[str, float]], step: int) -> None:
        """Figures of the epochs so far, oldest first: a network that learns nothing, a flat loss, a slow loader."""
        trained = [row for row in rows if "ctc" in row]
        if not trained:
            return
        now, settings = trained[-1], self._config.train
        if now["loader_wait"] > WAITING:
            self._say(
                "loader",
                f"the network waits {now['loader_wait']:.0%} of the time for data: the loader is slower. More "
                f"data.workers (now {self._config.data.workers}, {os.cpu_count()} cores here), images on a "
                "faster disk, or a weaker augment.strength",
            )
        if len(trained) < 2:
            return
        before = trained[-2]
        if step >= STEPS_TO_LEARN and now["exact"] == 0 and now["ctc"] > (1 - STANDING) * before["ctc"]:
            self._say(
                "plateau",
                f"no learning after {step} steps: CTC stands at {now['ctc']:.2f} (an epoch ago {before['ctc']:.2f}) "
                "and no held-out track is right, so it gives blanks. Easier pictures first (train.curriculum_steps), "
                f"model.slot_head=true, smaller batches (train.batch_size, now {settings.batch_size}), another "
                f"train.lr (now {now['lr']:.2g}); and check the labels with python -m lpr.check",
            )
        last = [row["loss"] for row in trained[-FLAT_EPOCHS - 1 :]]
        if now["exact"] > 0 and len(last) > FLAT_EPOCHS and max(last) <= (1 + FLAT) * min(last):
            self._say(
                "flat",
                f"the loss has been flat at {now['loss']:.3g} for {FLAT_EPOCHS} epochs: the rate, {now['lr']:.2g}, is "
                "too small to learn more, or there is no more to learn. A larger train.lr, another train.schedule, or "
                f"an earlier end (train.early_stop, now {settings.early_stop})",
            )


def label_notes(problems: Sequence[Problem]) -> list[str]:
    """Lines that count labels without an image and images without a label among what the scan found."""
    orphans = sum(problem.what.startswith("no such file") for problem in problems)
    unlabelled = sum(problem.what == "no label" for problem in problems)
    lines = []
    if orphans:
        lines.append(
            f"warning: {orphans} labels match no image: correct their paths, or the run learns from the rest only"
        )
    if unlabelled:
        lines.append(
            f"warning: {unlabelled} tracks have no label and are not trained on; python -m lpr.check names them"
        )
    return lines

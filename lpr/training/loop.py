"""The training loop, from a folder of tracks to a run directory with its best checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from ..config import Config
from ..data.dataset import FrameDataset, Sample, collate, flat, init_worker
from ..data.sources import Sources, shown
from ..data.splits import HeldOut
from ..files import writing
from ..model import checkpoint
from ..model.devices import gpu_trouble, mixed_precision
from ..model.recogniser import build_recogniser
from ..types import InputError, Prediction
from .average import check_teacher
from .batches import epoch_batches
from .display import Display, time_to_go
from .finish import finish
from .losses import Shares
from .memory import enough_memory
from .processes import Processes, joined
from .run import RunFolder
from .samples import write_epoch_picture
from .schedule import learning_rate, plateau_reached
from .setup import Prepared, initialise, prepare
from .state import Position, Trained, changed_end, read_state, restore, save_state
from .step import FIGURES, NotFinite, Stepper
from .stopping import Reason, StopRequest, leave_signals_to_parent
from .unreadable import UnreadableFrames
from .validate import Scores, decode_all, read_posteriors, score, unreadable
from .watch import Watch

#: Steps after which the rate is known well enough to say how long the run will take.
ESTIMATE_STEPS = 50


def train(config: Config, data: Sources, run_path: Path, *, resume: bool = False) -> Reason:
    """Train `config`'s recogniser on the tracks of `data` and leave everything in `run_path`.

    resume: continue the run that stands there; it may end at another epoch than planned. Returns "" when done,
    "interrupted" after Ctrl-C or SIGTERM, "time" when `train.max_minutes` ended it; all three can be resumed or read
    from. InputError for what a person can mend: data, a run directory in the way or in use, another configuration on
    resuming, a full disk, a loss that is no number. Under torchrun all its processes train the one run.
    """
    with joined() as group, ExitStack() as lock:
        return _begin(config, data, RunFolder(run_path), resume, lock, group).run_all()


def _open(run: RunFolder, resume: bool, lock: ExitStack) -> dict[str, Any] | None:
    """The state to resume from, or None for a run that begins; `lock` takes the lock of a run that is there."""
    if not resume:
        run.require_new()
        return None
    if run.begun:
        lock.enter_context(run.locked())
    if run.killed_at_birth:
        return None
    return read_state(run.last)


def _begin(config: Config, data: Sources, run: RunFolder, resume: bool, lock: ExitStack, group: Processes) -> _Loop:
    """A new run before its first step, or an old one where it stood; `lock` takes the run directory's lock."""
    check_teacher(config)
    state = group.first(lambda: _open(run, resume, lock))
    changed = changed_end(state["config"], config, run.path) if state is not None else []
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.train.seed)
    model = build_recogniser(config)
    held_out: HeldOut | None = None
    notes: list[str] = []
    if state is not None:
        held_out = HeldOut.from_dict(state["data"].get("folds", state["data"]["split"]))
    elif config.train.init_from:
        held_out, notes = initialise(model, config)
    prepared = prepare(config, data, model, held_out)
    prepared.notes.extend(notes)
    if state is not None and state["data"]["fingerprint"] != prepared.facts["fingerprint"]:
        then, now = state["data"].get("tracks", "unknown"), prepared.facts["tracks"]
        raise InputError(
            f"is not the data that the run was started with ({now} tracks with usable labels, {then} then)",
            where=shown(data),
            fix=f"put it back as it was, or start a new run from this one's weights: train.init_from={run.path}",
        )
    # Channels last makes convolutions about 15 % faster on CPUs, and mixed precision on GPUs.
    model = model.to(group.device).to(memory_format=torch.channels_last)
    amp_type = mixed_precision(group.device) if config.train.amp else None
    # The fastest convolutions for pictures of one size; without a GPU it does nothing.
    torch.backends.cudnn.benchmark = True
    if group.device.type == "cpu" and (trouble := gpu_trouble()):
        prepared.notes.append(f"WARNING: training on the CPU, since this torch cannot use the GPU: {trouble}")
    trained = Trained.start(model, config, amp_type)
    if group.count > 1:
        prepared.notes.append(
            f"{group.count} processes, each with its part of every batch; BatchNorm takes each part's own statistics"
        )
    position = Position()
    if state is not None:
        then = state["threads"], state.get("processes", 1), state.get("device", group.device.type)
        now = torch.get_num_threads(), group.count, group.device.type
        if then != now:
            words = [f"{threads} threads, {count} processes, {device}" for threads, count, device in (then, now)]
            prepared.notes.append(
                f"note: {words[0]} then, {words[1]} now: the result will not be bit-equal to an uninterrupted run's"
            )
        position = restore(state, trained)
        if changed:
            prepared.notes.append(f"note: {'; '.join(changed)}: the rate goes on as if this had been the plan")
            position.finished = False

    def write_start() -> None:
        if state is None:
            if not resume:
                lock.enter_context(run.locked())
                # Another process may have begun here while this one looked at the data.
                run.require_new()
            run.create(config, prepared.facts["split"])
            save_state(run.last, position, trained, config, prepared.facts, group.count)
        else:
            run.restore_best()
            run.require_best(position.best is not None)
            if changed:
                run.note_end(config)
            run.write_split(prepared.facts["split"])
            run.cut_log(position.logged)
        run.write_test_tracks(prepared.split.test)
        run.write_versions(group.device)

    group.first(write_start)
    return _Loop(config, run, prepared, trained, position, group, amp_type)


class _Loop:
    """What the steps of one run share."""

    display: Display
    stop: StopRequest
    writer: SummaryWriter
    unreadable: UnreadableFrames
    watch: Watch

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        prepared: Prepared,
        trained: Trained,
        position: Position,
        group: Processes,
        amp_type: torch.dtype | None,
    ) -> None:
        self.config, self.run, self.notes = config, run, prepared.notes
        self.split, self.facts = prepared.split, prepared.facts
        self.trained, self.position, self.group = trained, position, group
        self.stepper = Stepper(trained, config, group, amp_type)
        self.dataset = FrameDataset(self.split.train, config, train=True)
        self.saved = time.monotonic()
        self.batches_here = 0
        self.first_batch_at = 0.0

    def run_all(self) -> Reason:
        """Train, and finish what is trained; returns why the run stopped before its end, or ""."""
        settings = self.config.train
        with (
            Display(settings.epochs, silent=not self.group.is_first) as self.display,
            StopRequest(settings.max_minutes) as self.stop,
        ):
            for note in self.notes:
                self.display.line(note)
            if self.position.finished:
                self.display.line(f"this run is finished, after {self.position.step} steps: nothing is left to do")
                return ""
            self.unreadable = UnreadableFrames(self.display.line, strict=self.config.data.strict)
            self.watch = Watch(self.display.line, self.config)
            if self.group.is_first:
                with writing(self.run.tensorboard):
                    self.writer = SummaryWriter(str(self.run.tensorboard), purge_step=self.position.step)
            reason = self.run_epochs()
            self.on_first(lambda: self.close(reason))
        return reason

    def on_first(self, work: Callable[[], None]) -> None:
        """Let the first process do `work` for all of them, which then stand where it stands."""

        def position_after() -> Position:
            work()
            return self.position

        self.position.take(self.group.first(position_after))

    def close(self, reason: Reason) -> None:
        """Finish what is trained, if it is to be read with, and note when nothing is left to do."""
        if reason != "interrupted":
            with enough_memory("read.batch_tracks", self.config.read.batch_tracks):
                finish(self.run, self.config, self.split, self.group.device, self.display, self.unreadable)
        if not reason:
            self.position.finished = True
            self.save()

    def save(self) -> None:
        """Write last.pt."""
        save_state(self.run.last, self.position, self.trained, self.config, self.facts, self.group.count)
        self.saved = time.monotonic()

    def run_epochs(self) -> Reason:
        """Epoch after epoch until the end, a plateau or a request to stop; last.pt is up to date afterwards."""
        settings, position = self.config.train, self.position
        if position.logged < 0 and settings.init_from:
            # The start counts as epoch 0: fine-tuning never ends worse than it began.
            self.on_first(self.end_epoch)
        # Where nothing is held out, a score that stops rising says nothing: the epochs chosen before are run.
        patience = settings.epochs if self.config.split.train_on_all else settings.early_stop
        while position.epoch < settings.epochs and position.stale < patience:
            reason = self.train_epoch()
            if reason:
                self.on_first(lambda reason=reason: self.end_within(reason))  # type: ignore[misc]
                return reason
            position.epoch, position.batch = position.epoch + 1, 0
            self.on_first(self.end_epoch)
        if position.epoch < settings.epochs and not position.finished:
            self.display.line(f"stopped early: no better exact match for {position.stale} epochs")
        return ""

    def end_within(self, reason: Reason) -> None:
        """Save in the middle of an epoch, and leave something to read with where the time is over."""
        self.save()
        if reason == "time":
            self.require_step(self.position.step)
            scores = self.validate()[0]
            # It is not noted as the best so far: a run that goes on shall do what one without a limit does.
            if self.position.best is None or scores.key > self.position.best or self.config.split.train_on_all:
                self.run.set_best_aside()
                self.write_best(scores)

    def train_epoch(self) -> Reason:
        """Run the rest of the current epoch; returns why it stopped before its end, or ""."""
        config, position = self.config, self.position
        if position.batch == 0:
            position.sums, position.epoch_step = {}, position.step
        batches = epoch_batches(self.split.train, config, position.epoch, position.epoch_step)
        self.display.start_epoch(position.epoch + 1, len(batches), position.batch)
        loader = DataLoader(
            self.dataset,
            batch_sampler=[flat(self.group.part(batch)) for batch in batches[position.batch :]],
            collate_fn=collate,
            num_workers=config.data.workers,
            worker_init_fn=start_worker,
            pin_memory=self.group.device.type == "cuda",
            # Its own generator: the loader draws a worker seed from it, which must not advance the one of dropout.
            generator=torch.Generator(),
        )
        self.trained.model.train()
        before = time.perf_counter()
        for batch in self.loaded(loader):
            waited = time.perf_counter() - before
            targets = int(batch["sr_mask"].sum()) if "sr_mask" in batch else 0
            parts = self.group.gather((len(batch["images"]), targets, batch["unreadable"]))
            images, all_targets = sum(part[0] for part in parts), sum(part[1] for part in parts)
            unreadable = [problem for part in parts for problem in part[2]]
            self.unreadable.name(unreadable)
            figures = {}
            if images:
                progress = (position.epoch + position.batch / len(batches)) / config.train.epochs
                shares = Shares(len(batch["images"]) / images, targets / max(all_targets, 1))
                figures = self.step(batch, progress, shares, flat(batches[position.batch]))
                position.step += 1
                position.images += images
            position.batch += 1
            figures |= {"wait_s": waited, "train_s": time.perf_counter() - before, "images": images}
            figures["unreadable"] = len(unreadable)
            for name, value in figures.items():
                position.sums[name] = position.sums.get(name, 0.0) + value
            self.display.step(position.batch, describe(self.means()))
            self.estimate(len(batches))
            if reason := self.group.agree(self.stop.reason):
                return reason
            due = time.monotonic() - self.saved >= 60 * config.train.checkpoint_minutes
            if any(self.group.gather(due and self.group.is_first)):
                self.on_first(self.save)
            before = time.perf_counter()
        self.require_step(position.sums.get("steps", 0))
        return ""

    def loaded(self, loader: DataLoader[Any]) -> Iterator[dict[str, Any]]:
        """The batches; what goes wrong in loading one of them is raised by all processes."""
        batches: Iterator[dict[str, Any]] | None = None
        while True:
            batch, error = None, None
            try:
                with enough_memory("train.batch_size", self.config.train.batch_size):
                    batches = iter(loader) if batches is None else batches
                    batch = next(batches, None)
            except InputError as caught:
                error = caught
            self.group.raise_any(error)
            if batch is None:
                return
            yield batch

    def require_step(self, steps: float) -> None:
        """InputError if nothing was trained because no frame could be read."""
        if not steps:
            count = int(self.position.sums.get("unreadable", 0))
            raise InputError(
                f"none of {count} frames can be read, so there is nothing to train on",
                where=next(frame.path for track in self.split.train for frame in track.frames).parent.parent,
                fix="look at the data with python -m lpr.check --images",
            )

    def estimate(self, batches: int) -> None:
        """Say once how long the run will take; `batches` is the length of an epoch."""
        self.batches_here += 1
        now = time.monotonic()
        if self.batches_here == 1:
            # The first batch does not count: it waits for the loader and compiles kernels.
            self.first_batch_at = now
        elif self.batches_here == ESTIMATE_STEPS:
            seconds = (now - self.first_batch_at) / (ESTIMATE_STEPS - 1)
            left = (self.config.train.epochs - self.position.epoch) * batches - self.position.batch
            if not left:
                return
            expected = time_to_go(min(seconds * left, self.stop.seconds_left))
            self.display.line(f"{expected} ({left} steps of {seconds:.2g} s at most; fewer if it stops early)")

    def step(
        self, batch: dict[str, Any], progress: float, shares: Shares, samples: Sequence[Sample]
    ) -> dict[str, float]:
        """One optimiser step; returns its figures. InputError, weights untouched, where the loss is not finite."""
        rate = learning_rate(self.config.train, progress, self.position.reductions)
        try:
            return self.stepper.step(batch, rate, shares, self.position.step + 1)
        except NotFinite as found:
            tracks = [self.split.train[sample.track] for sample in samples]
            raise found.as_error(self.position, rate, tracks, self.run.path) from None

    def means(self) -> dict[str, float]:
        """Means over the epoch so far, from its running sums."""
        sums = self.position.sums
        steps, seconds = max(sums.get("steps", 0.0), 1.0), max(sums.get("train_s", 0.0), 1e-9)
        means = {name: sums.get(name, 0.0) / steps for name in (*FIGURES, "grad_norm")}
        means["lr"] = float(self.trained.optimizer.param_groups[0]["lr"])
        means["images_per_s"] = sums.get("images", 0.0) / seconds
        means["loader_wait"] = sums.get("wait_s", 0.0) / seconds
        return means

    def validate(self) -> tuple[Scores, list[Prediction]]:
        """Scores on the select fold, and the readings behind them."""
        tracks = self.split.select
        with enough_memory("read.batch_tracks", self.config.read.batch_tracks):
            read = read_posteriors(self.trained.reader, tracks, self.config)
        problems = unreadable(read)
        self.unreadable.name(problems)
        self.unreadable.count(len(problems), sum(len(track.lr) for track in tracks), "frames held out to select")
        predictions = decode_all(read, self.config)
        return score(predictions, tracks), predictions

    def end_epoch(self) -> None:
        """Validate, log, keep the best, count towards the plateau and early stopping, and save."""
        position = self.position
        left_out, images = int(position.sums.get("unreadable", 0)), int(position.sums.get("images", 0))
        self.unreadable.count(left_out, left_out + images, f"frames of epoch {position.epoch}")
        scores, predictions = self.validate()
        better = self.keep_best(scores)
        position.stale = 0 if better else position.stale + 1
        if not self.config.split.train_on_all and plateau_reached(self.config.train, position.stale):
            position.reductions += 1
        # Epoch 0, the start of a fine-tuning, has trained nothing.
        means = self.means() if position.sums else {}
        figures = means | scores.shares()
        with writing(self.run.tensorboard):
            for name, value in figures.items():
                self.writer.add_scalar(name, value, position.step)
            self.writer.flush()
        position.logged = position.epoch
        counts = {"epoch": position.epoch, "step": position.step, "images": position.images, "best": int(better)}
        self.run.append_log(counts | {name: f"{value:.6g}" for name, value in figures.items()})
        self.display.line(
            f"epoch {position.epoch}/{self.config.train.epochs}: "
            f"{describe(means) if means else 'before training'}; {scores.tracks} "
            f"{'trained-on' if self.config.split.train_on_all else 'held-out'} tracks: "
            f"exact {scores.exact:.1%} (single frame {scores.exact_single:.1%}), characters {scores.characters:.1%}"
            + (", the best so far" if better and not self.config.split.train_on_all else "")
        )
        self.watch.readings(predictions, [track.text or "" for track in self.split.select])
        self.watch.figures(self.run.logged_figures(), position.step)
        best_epoch = position.epoch - position.stale
        write_epoch_picture(self.run.pictures, self.split.select, predictions, position.epoch, best_epoch)
        self.save()

    def keep_best(self, scores: Scores) -> bool:
        """Write the best checkpoint if `scores` beat all before; where nothing is held out, the last is the best."""
        position = self.position
        if position.best is not None and scores.key <= position.best:
            if self.config.split.train_on_all:
                self.write_best(scores)
            return False
        position.best = scores.key
        self.write_best(scores)
        return True

    def write_best(self, scores: Scores) -> None:
        """Write the weights as they are as the best checkpoint."""
        position = self.position
        figures = {
            "epoch": position.epoch,
            "step": position.step,
            "images": position.images,
            "select": {"tracks": scores.tracks, **scores.shares()},
        }
        extra = {"split": self.facts["split"], "figures": figures}
        checkpoint.save(self.run.best, self.trained.reader, self.config, extra)


def start_worker(worker: int) -> None:
    """What each loader process does first."""
    init_worker(worker)
    leave_signals_to_parent()


def describe(means: dict[str, float]) -> str:
    """The figures of an epoch so far, for a line on the screen."""
    parts = [f"{name} {means[name]:.3f}" for name in FIGURES[2:] if means[name]]
    return (
        f"loss {means['loss']:.3f} (" + ", ".join([f"ctc {means['ctc']:.3f}", *parts]) + f"), lr {means['lr']:.2g}, "
        f"{means['images_per_s']:.0f} images/s, waiting for data {means['loader_wait']:.0%}"
    )

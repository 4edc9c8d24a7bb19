"""The training loop, from a folder of tracks to a run directory with its best checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from ..config import Config
from ..data.dataset import FrameDataset, Sample, collate, epoch_samples, init_worker
from ..files import writing
from ..model import checkpoint
from ..model.recogniser import Recogniser, build_recogniser
from ..types import InputError, Track
from .display import Display, time_to_go
from .finish import finish
from .losses import Losses, compute_losses
from .run import RunFolder
from .schedule import clean_share, learning_rate, plateau_reached
from .setup import Prepared, initialise, prepare
from .state import Position, Trained, check_same_config, read_state, restore, save_state
from .stopping import Reason, StopRequest, leave_signals_to_parent
from .unreadable import UnreadableFrames
from .validate import Scores, decode_all, read_posteriors, score, unreadable

#: Steps after which the rate is known well enough to say how long the run will take.
ESTIMATE_STEPS = 50


def train(config: Config, data: Path, run_path: Path, *, resume: bool = False) -> Reason:
    """Train `config`'s recogniser on the tracks below `data` and leave everything in `run_path`.

    resume: continue the run that stands there. Returns "" when done, "interrupted" after Ctrl-C or SIGTERM, "time" when
    `train.max_minutes` ended it; all three can be resumed or read from. InputError for what a person can mend: data, a
    run directory in the way or in use, another configuration on resuming, a full disk, a loss that is no number.
    """
    with ExitStack() as lock:
        return _begin(config, data, RunFolder(run_path), resume, lock).run_all()


def _begin(config: Config, data: Path, run: RunFolder, resume: bool, lock: ExitStack) -> _Loop:
    """A new run before its first step, or an old one where it stood; `lock` takes the run directory's lock."""
    state: dict[str, Any] | None = None
    if not resume:
        run.require_new()
    else:
        if run.begun:
            lock.enter_context(run.locked())
        if not run.killed_at_birth:
            state = read_state(run.last)
            check_same_config(state["config"], config, run.path)

    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.train.seed)
    model = build_recogniser(config)
    held_out = None
    if state is not None:
        held_out = frozenset(state["data"]["split"]["select"]), frozenset(state["data"]["split"]["calibrate"])
    elif config.train.init_from:
        held_out = initialise(model, config)
    prepared = prepare(config, data, model, held_out)
    if state is not None and state["data"]["fingerprint"] != prepared.facts["fingerprint"]:
        raise InputError("is not the data that the run was started with", where=data, fix="start a new run")
    # Channels last makes convolutions about 15 % faster on CPUs, and mixed precision on GPUs.
    model = model.to(device).to(memory_format=torch.channels_last)
    amp_type = mixed_precision(device) if config.train.amp else None
    trained = Trained(
        model,
        torch.optim.AdamW(model.parameters(), config.train.lr, weight_decay=config.train.weight_decay, fused=True),
        # Only float16 has so little range that gradients need scaling.
        torch.amp.GradScaler(enabled=amp_type == torch.float16),
    )
    position = Position()
    if state is None:
        if not resume:
            lock.enter_context(run.locked())
            # Another process may have begun here while this one looked at the data.
            run.require_new()
        run.create(config, prepared.facts["split"])
        save_state(run.last, position, trained, config, prepared.facts)
    else:
        if state["threads"] != torch.get_num_threads():
            prepared.notes.append(
                f"note: {state['threads']} threads then, {torch.get_num_threads()} now: the result will not be "
                "bit-equal to an uninterrupted run's"
            )
        position = restore(state, trained)
        run.require_best(position.best is not None)
        run.write_split(prepared.facts["split"])
        run.cut_log(position.logged)
    run.write_versions(device)
    return _Loop(config, run, prepared, trained, position, device, amp_type)


class _Loop:
    """What the steps of one run share."""

    display: Display
    stop: StopRequest
    writer: SummaryWriter
    unreadable: UnreadableFrames

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        prepared: Prepared,
        trained: Trained,
        position: Position,
        device: torch.device,
        amp_type: torch.dtype | None,
    ) -> None:
        self.config, self.run, self.notes = config, run, prepared.notes
        self.split, self.facts = prepared.split, prepared.facts
        self.trained, self.position, self.device, self.amp_type = trained, position, device, amp_type
        self.model: Recogniser = trained.model
        self.dataset = FrameDataset(self.split.train, config, train=True)
        self.saved = time.monotonic()
        self.batches_here = 0
        self.first_batch_at = 0.0

    def run_all(self) -> Reason:
        """Train, and finish what is trained; returns why the run stopped before its end, or ""."""
        with Display(self.config.train.epochs) as self.display, StopRequest(self.config.train.max_minutes) as self.stop:
            for note in self.notes:
                self.display.line(note)
            if self.position.finished:
                self.display.line(f"this run is finished, after {self.position.step} steps: nothing is left to do")
                return ""
            self.unreadable = UnreadableFrames(self.display.line, strict=self.config.data.strict)
            with writing(self.run.tensorboard):
                self.writer = SummaryWriter(str(self.run.tensorboard), purge_step=self.position.step)
            reason = self.run_epochs()
            if reason != "interrupted":
                finish(self.run, self.config, self.split, self.device, self.display, self.unreadable)
            if not reason:
                self.position.finished = True
                self.save()
        return reason

    def save(self) -> None:
        """Write last.pt."""
        save_state(self.run.last, self.position, self.trained, self.config, self.facts)
        self.saved = time.monotonic()

    def run_epochs(self) -> Reason:
        """Epoch after epoch until the end, a plateau or a request to stop; last.pt is up to date afterwards."""
        settings, position = self.config.train, self.position
        if position.logged < 0 and settings.init_from:
            # The start counts as epoch 0: fine-tuning never ends worse than it began.
            self.end_epoch()
            self.save()
        while position.epoch < settings.epochs and position.stale < settings.early_stop:
            reason = self.train_epoch()
            if reason:
                self.save()
                if reason == "time" and position.best is None:
                    # Something to read with; the next epoch's is kept in any case, as in a run without a limit.
                    self.require_step(position.step)
                    self.write_best(self.validate())
                return reason
            position.epoch, position.batch = position.epoch + 1, 0
            self.end_epoch()
            self.save()
        if position.epoch < settings.epochs and not position.finished:
            self.display.line(f"stopped early: no better exact match for {position.stale} epochs")
        return ""

    def train_epoch(self) -> Reason:
        """Run the rest of the current epoch; returns why it stopped before its end, or ""."""
        config, position = self.config, self.position
        if position.batch == 0:
            position.sums, position.epoch_step = {}, position.step
        batches = epoch_batches(self.split.train, config, position.epoch, position.epoch_step)
        self.display.start_epoch(position.epoch + 1, len(batches), position.batch)
        loader = DataLoader(
            self.dataset,
            batch_sampler=batches[position.batch :],
            collate_fn=collate,
            num_workers=config.data.workers,
            worker_init_fn=start_worker,
            pin_memory=self.device.type == "cuda",
            # Its own generator: the loader draws a worker seed from it, which must not advance the one of dropout.
            generator=torch.Generator(),
        )
        self.model.train()
        before = time.perf_counter()
        for batch in loader:
            waited = time.perf_counter() - before
            self.unreadable.name(batch["unreadable"])
            if len(batch["images"]):
                progress = (position.epoch + position.batch / len(batches)) / config.train.epochs
                figures = self.step(batch, progress, batches[position.batch])
                position.step += 1
                position.images += len(batch["images"])
            else:
                figures = {}
            position.batch += 1
            figures |= {"wait_s": waited, "train_s": time.perf_counter() - before, "images": len(batch["images"])}
            figures["unreadable"] = len(batch["unreadable"])
            for name, value in figures.items():
                position.sums[name] = position.sums.get(name, 0.0) + value
            self.display.step(position.batch, describe(self.means()))
            self.estimate(len(batches))
            if reason := self.stop.reason:
                return reason
            if time.monotonic() - self.saved >= 60 * config.train.checkpoint_minutes:
                self.save()
            before = time.perf_counter()
        self.require_step(position.sums.get("steps", 0))
        return ""

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
            expected = time_to_go(min(seconds * left, self.stop.seconds_left))
            self.display.line(f"{expected} ({left} steps of {seconds:.2g} s at most; fewer if it stops early)")

    def step(self, batch: dict[str, Any], progress: float, samples: Sequence[Sample]) -> dict[str, float]:
        """One optimiser step; returns its figures. InputError, weights untouched, where the loss is not finite."""
        settings = self.config.train
        model, optimizer, scaler = self.model, self.trained.optimizer, self.trained.scaler
        rate = learning_rate(settings, progress, self.position.reductions)
        for group in optimizer.param_groups:
            group["lr"] = rate
        tensors = {k: v.to(self.device, non_blocking=True) for k, v in batch.items() if isinstance(v, torch.Tensor)}
        images = tensors["images"].contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.amp_type, enabled=self.amp_type is not None):
            outputs = model.training_outputs(images, tensors.get("sr_mask"))
        sr_targets = tensors["sr_targets"][tensors["sr_mask"]] if "sr_targets" in tensors else None
        losses = compute_losses(outputs, tensors["targets"], tensors["target_lengths"], sr_targets, settings)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(losses.total).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip))
        # The scaler skips a step whose scaled gradients overflowed and tries a smaller scale; that is no defect.
        if not math.isfinite(float(losses.total.detach())) or (not math.isfinite(norm) and not scaler.is_enabled()):
            raise self.non_finite(losses, norm, rate, outputs.logits, samples)
        scaler.step(optimizer)
        scaler.update()
        parts = {"loss": losses.total, "ctc": losses.ctc, "slot": losses.slot, "sr": losses.sr}
        return {name: float(part.detach()) for name, part in parts.items()} | {"grad_norm": norm, "steps": 1.0}

    def non_finite(
        self, losses: Losses, norm: float, rate: float, logits: torch.Tensor, samples: Sequence[Sample]
    ) -> InputError:
        """Say what is known about a loss or gradient that is no number."""
        parts = ", ".join(f"{name} {float(getattr(losses, name).detach()):g}" for name in ("ctc", "slot", "sr"))
        broken = [name for name, weights in self.model.named_parameters() if not bool(weights.isfinite().all())]
        if broken:
            cause = f"the weights of {broken[0]} are not finite"
        elif not bool(logits.isfinite().all()):
            cause = "the weights are finite, the network's outputs are not: they grew too large"
        else:
            cause = "weights and outputs are finite, the loss or its gradient is not"
        tracks = list(dict.fromkeys((self.split.train[s.track].id, self.split.train[s.track].text) for s in samples))
        named = ", ".join(f"{track} ({text})" for track, text in tracks)
        return InputError(
            f"the loss is not finite at step {self.position.step + 1} (epoch {self.position.epoch + 1}, batch "
            f"{self.position.batch + 1}): {parts}; gradient norm {norm:g}, learning rate {rate:g}; {cause}. "
            f"Tracks of the batch: {named}",
            where=self.run.path,
            fix=f"last.pt holds an earlier state. Start a new run with --set train.lr={rate / 3:.1g} or a smaller "
            "train.grad_clip, and look at the batch's images with python -m lpr.check",
        )

    def means(self) -> dict[str, float]:
        """Means over the epoch so far, from its running sums."""
        sums = self.position.sums
        steps, seconds = max(sums.get("steps", 0.0), 1.0), max(sums.get("train_s", 0.0), 1e-9)
        means = {name: sums.get(name, 0.0) / steps for name in ("loss", "ctc", "slot", "sr", "grad_norm")}
        means["lr"] = float(self.trained.optimizer.param_groups[0]["lr"])
        means["images_per_s"] = sums.get("images", 0.0) / seconds
        means["loader_wait"] = sums.get("wait_s", 0.0) / seconds
        return means

    def validate(self) -> Scores:
        """Scores on the select fold."""
        tracks = self.split.select
        read = read_posteriors(self.model, tracks, self.config)
        problems = unreadable(read)
        self.unreadable.name(problems)
        self.unreadable.count(len(problems), sum(len(track.lr) for track in tracks), "frames held out to select")
        return score(decode_all(read, self.config), tracks)

    def end_epoch(self) -> None:
        """Validate, log, keep the best, and count towards the plateau and early stopping."""
        position = self.position
        left_out, images = int(position.sums.get("unreadable", 0)), int(position.sums.get("images", 0))
        self.unreadable.count(left_out, left_out + images, f"frames of epoch {position.epoch}")
        scores = self.validate()
        better = self.keep_best(scores)
        position.stale = 0 if better else position.stale + 1
        if plateau_reached(self.config.train, position.stale):
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
            f"{describe(means) if means else 'before training'}; {scores.tracks} held-out tracks: "
            f"exact {scores.exact:.1%} (single frame {scores.exact_single:.1%}), characters {scores.characters:.1%}"
            + (", the best so far" if better else "")
        )

    def keep_best(self, scores: Scores) -> bool:
        """Write the best checkpoint if `scores` beat all before."""
        position = self.position
        if position.best is not None and scores.key <= position.best:
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
        checkpoint.save(self.run.best, self.model, self.config, {"split": self.facts["split"], "figures": figures})


def epoch_batches(tracks: Sequence[Track], config: Config, epoch: int, epoch_step: int) -> list[list[Sample]]:
    """The batches of one epoch, which begins at step `epoch_step`; the same ones on every call."""
    size, base, curriculum = config.train.batch_size, config.data.hr_share, config.train.curriculum_steps

    def hr_share(position: int) -> float:
        return base + (1 - base) * clean_share(curriculum, epoch_step + position // size)

    samples = epoch_samples(tracks, config, epoch, hr_share if epoch_step < curriculum else None)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """The short type that this device multiplies faster than float32, if any.

    bfloat16 trains the `cpu` network 1.7 times as fast on a CPU that has it; emulated it would be slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        able = torch.cpu.get_capabilities()
        return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None
    return None


def start_worker(worker: int) -> None:
    """What each loader process does first."""
    init_worker(worker)
    leave_signals_to_parent()


def describe(means: dict[str, float]) -> str:
    """The figures of an epoch so far, for a line on the screen."""
    parts = [f"{name} {means[name]:.3f}" for name in ("slot", "sr") if means[name]]
    return (
        f"loss {means['loss']:.3f} (" + ", ".join([f"ctc {means['ctc']:.3f}", *parts]) + f"), lr {means['lr']:.2g}, "
        f"{means['images_per_s']:.0f} images/s, waiting for data {means['loader_wait']:.0%}"
    )

"""Pictures without a whole plate, and training samples made of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from data_samples import write_track

from lpr.config import load_config
from lpr.data.dataset import FrameDataset, collate, epoch_samples
from lpr.data.scan import scan
from lpr.data.spoil import KEPT_WIDTH, KINDS, spoil
from lpr.model.recogniser import TrainingOutputs
from lpr.training.losses import compute_losses
from lpr.types import Track


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Track, ...]:
    root = tmp_path_factory.mktemp("tracks")
    for number in range(12):
        write_track(root / f"track_{number}", f"ABC12{number:02d}")
    return scan(root).tracks


def draw(image: np.ndarray, seed: int) -> np.ndarray:
    return spoil(image, np.random.default_rng(seed), np.random.default_rng([seed, 1]))


def test_the_kinds_are_shares_of_one() -> None:
    assert sum(KINDS.values()) == pytest.approx(1)


def test_nothing_is_left_of_a_whole_plate() -> None:
    # Every column has a colour of its own, so what is shown of the picture can be counted.
    image = np.repeat(np.arange(100, dtype=np.uint8)[None, :, None], 40, axis=0).repeat(3, axis=2)
    image[:, :, 1] = np.arange(40)[:, None]
    seen: Counter[str] = Counter()
    for seed in range(300):
        shown = draw(image, seed)
        assert shown.dtype == np.uint8 and shown.ndim == 3 and shown.size
        if shown.shape == (80, 50, 3):
            seen["rows"] += 1
        elif shown.shape == (40, 200, 3):
            seen["twice"] += 1
        elif shown.shape[1] < 100:
            seen["cut"] += 1
            assert KEPT_WIDTH[0] * 100 - 1 <= shown.shape[1] <= KEPT_WIDTH[1] * 100 + 1
        elif shown.shape[0] < 40:
            seen["halved"] += 1
            assert len(np.unique(shown[:, :, 1])) <= 20
        else:
            kept = (shown == image).all(axis=(0, 2)).mean()
            seen["covered" if kept > 0.1 else "blank"] += 1
            assert kept <= KEPT_WIDTH[1] + 0.02
    assert set(seen) == set(KINDS)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (9, 1, 3)])
def test_the_smallest_pictures(shape: tuple[int, int, int]) -> None:
    for seed in range(60):
        assert draw(np.full(shape, 90, np.uint8), seed).size


def test_a_plate_is_not_laid_in_two_rows_where_such_plates_are_read() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 100, 3), np.uint8)
    noise = np.random.default_rng(1)
    shapes = {spoil(image, np.random.default_rng(seed), noise, rows=False).shape for seed in range(200)}
    assert (80, 50, 3) not in shapes and (40, 200, 3) in shapes


def test_the_same_seeds_give_the_same_bytes_and_leave_the_picture_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 48, 3), np.uint8)
    before = image.copy()
    for seed in range(40):
        assert np.array_equal(draw(image, seed), draw(image, seed))
    assert np.array_equal(image, before)


def test_a_share_of_the_tracks_of_an_epoch_has_an_empty_target(tracks: tuple[Track, ...]) -> None:
    config = load_config(["phase1", "cpu"], ["data.spoiled=0.4", "data.hr_frames=none", "data.epoch_samples=60"])
    samples = [sample for epoch in range(8) for sample in epoch_samples(tracks, config, epoch)]
    items = [FrameDataset(tracks, config, train=True)[sample] for sample in samples]
    empty = [len(item["target"]) == 0 for item in items]
    assert 0.25 < np.mean(empty) < 0.55
    # All frames of a track and pass alike, so that a network that fuses frames is told one thing.
    of: dict[tuple[int, ...], set[bool]] = {}
    for sample, spoiled in zip(samples, empty, strict=True):
        of.setdefault(sample.seed[:3], set()).add(spoiled)
    assert all(len(both) == 1 for both in of.values())
    assert all(len(item["target"]) for item in (FrameDataset(tracks, config, train=False)[s] for s in samples[:20]))
    # Where plates of two rows are read, none is spoiled into one.
    two = load_config(["phase1", "cpu"], ["data.spoiled=0.99", "input.two_rows_below=1.5", "data.hr_frames=none"])
    assert all(len(FrameDataset(tracks, two, train=True)[sample]["target"]) == 0 for sample in samples[:5])
    # Without the setting, the same epoch has all its labels, and the pictures that were not spoiled are the same.
    plain = load_config(["phase1", "cpu"], ["data.hr_frames=none", "data.epoch_samples=60"])
    for sample, item, spoiled in zip(samples, items, empty, strict=True):
        other = FrameDataset(tracks, plain, train=True)[sample]
        assert len(other["target"])
        if not spoiled:
            assert torch.equal(item["image"], other["image"])


def test_an_empty_target_pulls_towards_blanks(tracks: tuple[Track, ...]) -> None:
    config = load_config(["phase1", "cpu"], ["data.spoiled=0.5", "data.hr_frames=none", "data.epoch_samples=40"])
    dataset = FrameDataset(tracks, config, train=True)
    batch = collate([dataset[sample] for sample in epoch_samples(tracks, config, 0)])
    empty = batch["target_lengths"] == 0
    assert empty.any() and not empty.all()
    logits = torch.zeros(len(empty), 32, 37, requires_grad=True)
    slots = torch.zeros(len(empty), 7, 37, requires_grad=True)
    outputs = TrainingOutputs(logits, slots, None)
    losses = compute_losses(outputs, batch["targets"], batch["target_lengths"], None, config.train)
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert logits.grad is not None and slots.grad is not None
    assert (logits.grad[empty][:, :, 0] < 0).all() and (logits.grad[empty][:, :, 1:] > 0).all()
    assert (slots.grad[empty][:, :, 0] < 0).all()
    # An empty label weighs about as much as another one, not as much as its seven characters.
    spoiled, labelled = (logits.grad[which].norm(dim=(1, 2)).mean() for which in (empty, ~empty))
    assert 0.3 < spoiled / labelled < 3

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from data_samples import write_track
from torch.utils.data import DataLoader

from lpr.config import Config, InputConfig, load_config
from lpr.data import dataset
from lpr.data.dataset import FrameDataset, Sample, collate, epoch_samples, init_worker
from lpr.data.scan import scan
from lpr.types import Frame, InputError, Problem, Track


def config(*settings: str) -> Config:
    return load_config(settings=settings)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Track, ...]:
    root = tmp_path_factory.mktemp("tracks")
    for number, text in enumerate(("ABC1D23", "00420", "AAA9Z99")):
        write_track(root / f"track_{number}", text)
    return scan(root).tracks


def fake(count: int, lr: int = 5, hr: int = 5) -> list[Track]:
    frames = [Frame(Path("x"), i + 1) for i in range(lr)] + [Frame(Path("x"), i + 1, "hr") for i in range(hr)]
    return [Track(str(i), tuple(frames), "ABC1234") for i in range(count)]


def test_item(tracks: tuple[Track, ...]) -> None:
    item = FrameDataset(tracks, config("input.width=96"), train=True)[Sample(1, 4, "lr", (0, 0, 1, 0))]
    assert isinstance(item, dict)
    assert item["image"].shape == (3, 32, 96) and item["image"].dtype == torch.uint8
    assert item["target"].tolist() == [1, 1, 5, 3, 1] and item["target"].dtype == torch.int64 and item["track"] == 1


def test_validation_is_not_augmented(tracks: tuple[Track, ...]) -> None:
    from lpr.data.images import read_frames

    dataset = FrameDataset(tracks, config(), train=False)
    images, _, _ = read_frames(tracks[0], config().input)
    for frame in range(5):
        for epoch in (0, 1):
            item = dataset[Sample(0, frame, "lr", (0, epoch, 0, 0))]
            assert isinstance(item, dict) and (item["image"].numpy() == images[frame]).all()
    assert len(dataset) == 15


def test_frames_of_a_track_share_geometry_but_not_photometry(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "track_1", hr=0)
    for index in range(2, 6):  # five equal frames: what differs is the augmentation
        (folder / f"lr-00{index}.png").write_bytes((folder / "lr-001.png").read_bytes())
    found = scan(folder).tracks
    still = config("augment.strength=light")
    dataset = FrameDataset(found, still, train=True)
    from lpr.data import dataset as module

    drawn = []
    original = module.draw_geometry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "draw_geometry", lambda rng, s: drawn.append(original(rng, s)) or drawn[-1])
        items = [dataset[Sample(0, f, "lr", (0, epoch, 0, f // 3))] for epoch in (0, 1) for f in range(5)]
    assert len(set(drawn[:5])) == 1 and len(set(drawn[5:])) == 1 and drawn[0] != drawn[5]
    assert len({item["image"].numpy().tobytes() for item in items if isinstance(item, dict)}) == 10


@pytest.mark.parametrize("settings", [(), ("model.super_resolution=true",)])
def test_the_same_bytes_for_any_number_of_workers(tracks: tuple[Track, ...], settings: tuple[str, ...]) -> None:
    chosen = config("data.hr_share=0.5", *settings)
    samples = epoch_samples(tracks, chosen, 3)

    def batches(workers: int) -> list[dict[str, Any]]:
        loader = DataLoader(
            FrameDataset(tracks, chosen, train=True), batch_size=4, sampler=samples, collate_fn=collate,  # type: ignore[arg-type]
            num_workers=workers, worker_init_fn=init_worker,
        )  # fmt: skip
        return list(loader)

    alone, together = batches(0), batches(2)
    assert len(alone) == len(together) == 8
    for one, two in zip(alone, together, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            assert one[name] == two[name] if name == "unreadable" else torch.equal(one[name], two[name])


def test_an_epoch_shows_every_lr_frame_once_and_the_wanted_share_of_hr() -> None:
    for share in (0.0, 0.1, 0.3, 0.5, 0.77):
        tracks = fake(37)
        samples = epoch_samples(tracks, config(f"data.hr_share={share}"), 0)
        lr = Counter((s.track, s.frame) for s in samples if s.kind == "lr")
        assert len(lr) == 185 and set(lr.values()) == {1}
        assert len(samples) - 185 == pytest.approx(share * len(samples), abs=1)
        # Evenly spread: no stretch of 40 samples differs much from the share.
        for start in range(0, len(samples) - 40, 40):
            assert sum(s.kind != "lr" for s in samples[start : start + 40]) == pytest.approx(40 * share, abs=1)


def test_kinds_of_hr_samples() -> None:
    tracks = fake(100)
    for name, kinds in {
        "none": {"lr"}, "as_is": {"lr", "hr"}, "degraded": {"lr", "hr_degraded"}, "both": {"lr", "hr", "hr_degraded"}
    }.items():  # fmt: skip
        samples = epoch_samples(tracks, config(f"data.hr_frames={name}"), 0)
        counts = Counter(s.kind for s in samples)
        assert counts.keys() == kinds and counts["lr"] == 500
        if name == "both":
            assert counts["hr"] / (counts["hr"] + counts["hr_degraded"]) == pytest.approx(0.5, abs=0.12)


def test_samples_depend_on_seed_and_epoch_only() -> None:
    tracks = fake(20)
    first = epoch_samples(tracks, config(), 0)
    assert epoch_samples(tracks, config(), 0) == first
    assert epoch_samples(tracks, config(), 1) != first
    assert epoch_samples(tracks, config("train.seed=1"), 0) != first
    assert len({(s.seed, s.frame, s.kind) for s in first}) == len(first)
    assert len(epoch_samples(tracks, config("train.seed=-1"), 0)) == len(first)


def test_the_curriculum_starts_with_clean_hr_and_ends_at_the_configured_share() -> None:
    tracks = fake(400)
    plain = epoch_samples(tracks, config(), 0)
    total = len(plain)
    samples = epoch_samples(tracks, config(), 0, hr_share=lambda i: max(0.3, 1 - 1.4 * i / total))
    assert len(samples) == total
    first, last = samples[: total // 20], samples[-total // 4 :]
    assert sum(s.kind == "hr" for s in first) > 0.9 * len(first)
    assert sum(s.kind == "lr" for s in last) == pytest.approx(0.7 * len(last), abs=2)
    assert {s.kind for s in epoch_samples(tracks, config(), 0, hr_share=lambda i: 1.0)} == {"hr"}


def test_curriculum_without_hr_frames_changes_nothing() -> None:
    tracks = fake(10, hr=0)
    assert epoch_samples(tracks, config(), 0, hr_share=lambda i: 1.0) == epoch_samples(tracks, config(), 0)
    assert {s.kind for s in epoch_samples(fake(10), config("data.hr_frames=none"), 0, lambda i: 1.0)} == {"lr"}


def test_no_lr_frame_is_an_error() -> None:
    with pytest.raises(InputError, match="no LR frame"):
        epoch_samples(fake(3, lr=0), config(), 0)


def test_super_resolution_pairs_show_the_same_moment(tracks: tuple[Track, ...]) -> None:
    chosen = config("model.super_resolution=true", "augment.strength=light")
    dataset = FrameDataset(tracks, chosen, train=True)
    item = dataset[Sample(0, 2, "hr_degraded", (0, 0, 0, 0))]
    assert isinstance(item, dict) and item["sr_target"].shape == (3, 64, 256)
    low = item["image"].float().numpy()
    target = item["sr_target"].float().numpy().reshape(3, 32, 2, 128, 2).mean((2, 4))
    assert 0.85 < np.corrcoef(low.ravel(), target.ravel())[0, 1] < 0.98
    for kind, frame in (("lr", 0), ("hr", 0)):
        other = dataset[Sample(0, frame, kind, (0, 0, 0, 0))]  # type: ignore[arg-type]
        assert isinstance(other, dict) and "sr_target" not in other
    plain = FrameDataset(tracks, config(), train=True)[Sample(0, 2, "hr_degraded", (0, 0, 0, 0))]
    assert isinstance(plain, dict) and "sr_target" not in plain


def test_collate(tracks: tuple[Track, ...]) -> None:
    dataset = FrameDataset(tracks, config("model.super_resolution=true"), train=True)
    kinds = ("lr", "hr_degraded", "lr")
    items = [dataset[Sample(t, 0, kind, (0, 0, t, 0))] for t, kind in enumerate(kinds)]  # type: ignore[arg-type]
    batch = collate([items[0], Problem("x.png", "is damaged"), *items[1:]])
    assert batch["images"].shape == (3, 3, 32, 128) and batch["tracks"].tolist() == [0, 1, 2]
    assert batch["target_lengths"].tolist() == [7, 5, 7] and len(batch["targets"]) == 19
    assert batch["targets"][7:12].tolist() == [1, 1, 5, 3, 1]
    assert batch["sr_mask"].tolist() == [False, True, False] and batch["sr_targets"].shape == (3, 3, 64, 256)
    assert batch["sr_targets"][0].max() == 0 and torch.equal(batch["sr_targets"][1], items[1]["sr_target"])  # type: ignore[index]
    assert batch["unreadable"] == [Problem("x.png", "is damaged")]
    assert "sr_mask" not in collate([items[0]])


def test_an_unreadable_frame_is_named_and_left_out(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "track_1", hr=0)
    (folder / "lr-002.png").write_bytes(b"\x89PNG")
    found = scan(folder).tracks
    dataset = FrameDataset(found, config(), train=True)
    samples = epoch_samples(found, config(), 0)
    (batch,) = DataLoader(dataset, batch_size=5, sampler=samples, collate_fn=collate)  # type: ignore[arg-type]
    assert batch["images"].shape[0] == 4
    assert [p.where for p in batch["unreadable"]] == [str(folder / "lr-002.png")]
    nothing = collate([Problem("x", "y")])
    assert len(nothing["tracks"]) == 0 and nothing["images"].shape[0] == 0 and nothing["targets"].numel() == 0


def test_a_label_outside_the_alphabet_is_an_error_at_once(tracks: tuple[Track, ...]) -> None:
    with pytest.raises(InputError, match="'A'"):
        FrameDataset(tracks, config("model.alphabet=0123456789"), train=True)


def test_rows_are_told_before_a_crop_is_turned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide crop that augmentation turns by 15 degrees is taller, but still one row."""
    cv2.imwrite(str(tmp_path / "AB12CD3456.png"), np.full((40, 100, 3), 128, np.uint8))
    found = scan(tmp_path).tracks
    settings = config("augment.strength=heavy", "input.two_rows_below=2.3", "model.slot_head=false")
    original, seen = dataset.preprocess, []

    def watched(image: np.ndarray, size: InputConfig, rows: bool) -> np.ndarray:
        seen.append((dataset.has_two_rows(image, size), rows))
        return original(image, size, rows)

    monkeypatch.setattr(dataset, "preprocess", watched)
    for draw in range(60):
        FrameDataset(found, settings, train=True)[Sample(0, 0, "lr", (0, draw, 0, 0))]
    assert any(turned for turned, _ in seen) and not any(rows for _, rows in seen)

"""Pictures merged from several frames: what registration undoes, what averaging gains, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from data_samples import write_track

from lpr.config import InputConfig, load_config
from lpr.data.dataset import FrameDataset, epoch_samples
from lpr.data.images import preprocess
from lpr.data.merge import merge_frames, merged_picture, targets
from lpr.data.scan import scan
from lpr.types import InputError, Problem, Track


def plate(shift: tuple[float, float] = (0.0, 0.0), degrees: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """A drawn plate, uint8 (3, 32, 128), moved by some px."""
    picture = np.full((256, 1024, 3), (60, 70, 80), np.uint8)
    cv2.rectangle(picture, (80, 50), (940, 210), (200, 205, 210), -1)
    cv2.putText(picture, "ABC1D23", (110, 180), cv2.FONT_HERSHEY_SIMPLEX, 5.2, (20, 20, 30), 18)
    matrix = cv2.getRotationMatrix2D((512, 128), degrees, scale)
    matrix[:, 2] += np.array(shift) * 8
    moved = cv2.warpAffine(picture, matrix, (1024, 256), borderMode=cv2.BORDER_REPLICATE)
    return preprocess(moved, InputConfig())


def noisy(frame: np.ndarray, seed: int, sigma: float = 25.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, frame.shape)
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def error(frame: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference within the plate, grey levels."""
    inside = (slice(None), slice(6, 26), slice(10, 118))
    return float(np.sqrt(np.mean((frame[inside].astype(float) - other[inside]) ** 2)))


MOVES = [
    ((0, 0), 0.0, 1.0), ((3.3, -1.2), 0.8, 1.02), ((-2.6, 1.4), -1.0, 0.97), ((1.7, 0.6), 1.5, 1.04), ((5, 2), 0, 1)
]  # fmt: skip


def test_noise_cancels_in_what_is_registered() -> None:
    frames = np.stack([noisy(plate(*move), seed) for seed, move in enumerate(MOVES)])  # type: ignore[arg-type]
    merged = merge_frames(frames, [0, 3])
    assert merged.shape == (2, 3, 32, 128) and merged.dtype == np.uint8
    for picture, at in zip(merged, (0, 3), strict=True):
        truth = plate(*MOVES[at])  # type: ignore[arg-type]
        # Five frames: the noise falls by up to the root of 5, 2.2, if they lie on each other.
        assert error(picture, truth) < 0.6 * error(frames[at], truth)
        assert error(picture, truth) < 0.5 * error(frames.mean(axis=0), truth), "not registered"


def test_light_is_brought_to_that_of_the_clearest_frame() -> None:
    dark = np.clip(plate(*MOVES[1]) * 0.4 + 5, 0, 255).astype(np.uint8)  # type: ignore[arg-type]
    frames = np.stack([plate(), dark])
    for picture, at in zip(merge_frames(frames, [0, 1]), (0, 1), strict=True):
        assert error(picture, plate(*MOVES[at])) < 12  # type: ignore[arg-type]
        assert not np.array_equal(picture, frames[at]), "of one frame alone"
    # What is too dark to show more than noise is not blown up to the contrast of the others.
    black = np.random.default_rng(0).integers(0, 3, (3, 32, 128)).astype(np.uint8)
    for frames in (np.stack([black, black]), np.stack([black, np.roll(black, 1, 2)])):
        assert np.abs(merge_frames(frames, [0])[0].astype(int) - black).max() <= 1


def test_what_shows_something_else_is_left_out() -> None:
    other = np.random.default_rng(5).integers(0, 256, (3, 32, 128), np.uint8)
    blank = np.full((3, 32, 128), 128, np.uint8)
    for strange in (other, blank, np.zeros_like(blank)):
        frames = np.stack([plate(), strange])
        assert np.array_equal(merge_frames(frames, [0])[0], plate())
    assert np.array_equal(merge_frames(np.stack([blank, plate()]), [0])[0], blank)


def test_the_order_of_frames_does_not_matter() -> None:
    frames = np.stack([noisy(plate(*move), seed) for seed, move in enumerate(MOVES)])  # type: ignore[arg-type]
    one = merge_frames(frames, [0, 3])
    # The same two, 3 and 0, lie at other places.
    other = merge_frames(frames[[3, 4, 2, 1, 0]], [4, 0])
    assert np.array_equal(one, other)
    whole = merge_frames(frames, targets(frames, 2))
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        turned = frames[order]
        assert np.array_equal(merge_frames(turned, targets(turned, 2)), whole)
    grey = frames[:, :1]
    assert error(merge_frames(grey, [0])[0], plate()[:1]) < 0.7 * error(grey[0], plate()[:1])
    assert merge_frames(frames[:0], ()).shape == (0, 3, 32, 128)


def test_what_shows_something_else_is_not_registered_onto() -> None:
    noise = np.random.default_rng(5).integers(0, 256, (3, 32, 128), np.uint8)
    black = np.zeros((3, 32, 128), np.uint8)
    plates = [noisy(plate(*move), seed, 8) for seed, move in enumerate(MOVES[:3])]  # type: ignore[arg-type]
    frames = np.stack([noise, plates[0], plates[1], plates[2], black])
    assert set(targets(frames, 2)) <= {1, 2, 3} and len(targets(frames, 9)) == 5
    assert targets(frames[:1], 2) == targets(frames, 0) == targets(frames[:0], 2) == ()
    picture = merged_picture([frame.transpose(1, 2, 0) for frame in (*plates, black)])
    assert picture is not None and picture.shape == (32, 128, 3) and picture.std() > 30
    assert merged_picture([plates[0].transpose(1, 2, 0)]) is None
    thin = merged_picture([np.zeros((4, 900, 3), np.uint8)] * 2)
    assert thin is not None and thin.shape == (32, 256, 3)


def write_plates(root: Path, *texts: str) -> tuple[Track, ...]:
    for number, text in enumerate(texts):
        folder = write_track(root / f"track_{number}", text)
        for at, move in enumerate(MOVES):
            frame = noisy(plate(*move), at).transpose(1, 2, 0)  # type: ignore[arg-type]
            cv2.imwrite(str(folder / f"lr-00{at + 1}.png"), np.ascontiguousarray(frame))
    return scan(root).tracks


@pytest.mark.parametrize("strength", ["none", "light"])
def test_a_share_of_lr_samples_is_merged(tmp_path: Path, strength: str) -> None:
    tracks = write_plates(tmp_path, "ABC1D23", "QRS4T56")
    settings = [f"augment.strength={strength}", "data.hr_share=0.3", "data.epoch_samples=200"]
    plain, merged = (load_config(settings=[*settings, f"data.merged={share}"]) for share in (0, 0.4))
    samples = epoch_samples(tracks, merged, 0)
    assert samples == epoch_samples(tracks, plain, 0)
    changed: dict[str, list[bool]] = {"lr": [], "hr": [], "hr_degraded": []}
    for sample in samples:
        before, after, again = (
            FrameDataset(tracks, config, train=True)[sample]["image"].numpy() for config in (plain, merged, merged)
        )
        assert np.array_equal(after, again)
        changed[sample.kind].append(not np.array_equal(before, after))
    assert 0.25 < np.mean(changed["lr"]) < 0.55 and not any(changed["hr"] + changed["hr_degraded"])
    as_it_is = FrameDataset(tracks, merged, train=False)[samples[0]]["image"]
    assert np.array_equal(as_it_is, FrameDataset(tracks, plain, train=False)[samples[0]]["image"])


def test_a_frame_that_cannot_be_read_is_merged_with_none(tmp_path: Path) -> None:
    tracks = write_plates(tmp_path, "ABC1D23")
    settings = ["data.hr_frames=none", "augment.strength=none"]
    plain, merged = (load_config(settings=[*settings, f"data.merged={share}"]) for share in (0, 1))
    samples = epoch_samples(tracks, merged, 0)
    (tmp_path / "track_0" / "lr-002.png").write_bytes(b"no picture")
    items = [FrameDataset(tracks, merged, train=True)[sample] for sample in samples]
    assert [sample.frame for sample, item in zip(samples, items, strict=True) if isinstance(item, Problem)] == [1]
    changed = 0
    for sample, item in zip(samples, items, strict=True):
        if isinstance(item, dict):
            own = FrameDataset(tracks, plain, train=True)[sample]["image"]  # type: ignore[index]
            changed += not np.array_equal(item["image"], own)
    # Of the four, at most one had drawn no other frame than the one that cannot be read.
    assert changed >= 3


def test_frames_that_look_at_each_other_are_not_merged(tmp_path: Path) -> None:
    tracks = write_plates(tmp_path, "ABC1D23")
    apart = [load_config(settings=["data.merged=1", f"model.temporal={blocks}"]) for blocks in (0, 1)]
    sample = next(sample for sample in epoch_samples(tracks, apart[0], 0) if sample.kind == "lr")
    one, other = (FrameDataset(tracks, config, train=True)[sample]["image"] for config in apart)  # type: ignore[index]
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("setting", ["data.merged=0.3", "read.merged=1"])
def test_two_rows_side_by_side_are_not_merged(setting: str) -> None:
    with pytest.raises(InputError, match="laid side by side would be torn"):
        load_config(settings=["input.two_rows_below=2", setting])

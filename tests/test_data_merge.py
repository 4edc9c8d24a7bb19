"""Pictures merged from several frames: what registration undoes, what averaging gains, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from data_samples import write_track

from lpr.config import load_config
from lpr.data.dataset import FrameDataset, epoch_samples
from lpr.data.images import preprocess
from lpr.data.merge import merge_frames, places
from lpr.data.scan import scan
from lpr.types import Problem


def plate(shift: tuple[float, float] = (0.0, 0.0), degrees: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """A drawn plate, uint8 (3, 32, 128), moved by some px."""
    picture = np.full((256, 1024, 3), (60, 70, 80), np.uint8)
    cv2.rectangle(picture, (80, 50), (940, 210), (200, 205, 210), -1)
    cv2.putText(picture, "ABC1D23", (110, 180), cv2.FONT_HERSHEY_SIMPLEX, 5.2, (20, 20, 30), 18)
    matrix = cv2.getRotationMatrix2D((512, 128), degrees, scale)
    matrix[:, 2] += np.array(shift) * 8
    moved = cv2.warpAffine(picture, matrix, (1024, 256), borderMode=cv2.BORDER_REPLICATE)
    return preprocess(moved, load_config().input)


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


def test_light_is_brought_to_that_of_the_frame_registered_onto() -> None:
    dark = np.clip(plate(*MOVES[1]) * 0.4 + 5, 0, 255).astype(np.uint8)  # type: ignore[arg-type]
    frames = np.stack([plate(), dark])
    assert error(merge_frames(frames, [0])[0], frames[0]) < 12
    assert error(merge_frames(frames, [1])[0], frames[1]) < 12
    assert error(frames[0], frames[1]) > 80


def test_what_shows_something_else_is_left_out() -> None:
    other = np.random.default_rng(5).integers(0, 256, (3, 32, 128), np.uint8)
    blank = np.full((3, 32, 128), 128, np.uint8)
    for strange in (other, blank, np.zeros_like(blank)):
        frames = np.stack([plate(), strange])
        assert np.array_equal(merge_frames(frames, [0])[0], plate())
    assert np.array_equal(merge_frames(np.stack([blank, plate()]), [0])[0], blank)


def test_the_order_of_the_others_does_not_matter() -> None:
    frames = np.stack([noisy(plate(*move), seed) for seed, move in enumerate(MOVES)])  # type: ignore[arg-type]
    one = merge_frames(frames, [0])
    assert np.array_equal(one, merge_frames(frames[[0, 4, 2, 1, 3]], [0]))
    grey = frames[:, :1]
    assert merge_frames(grey, [2]).shape == (1, 1, 32, 128)


def test_places() -> None:
    assert places(5, 2) == (2, 4) and places(5, 9) == (2, 4, 0, 1, 3) and places(5, 0) == ()
    assert places(2, 2) == (1, 0) and places(2, 1) == (1,)
    assert places(1, 2) == places(0, 2) == ()


@pytest.mark.parametrize("strength", ["none", "light"])
def test_a_share_of_lr_samples_is_merged(tmp_path: Path, strength: str) -> None:
    for number, text in enumerate(("ABC1D23", "QRS4T56")):
        folder = write_track(tmp_path / f"track_{number}", text)
        for at, move in enumerate(MOVES):
            frame = noisy(plate(*move), at).transpose(1, 2, 0)  # type: ignore[arg-type]
            cv2.imwrite(str(folder / f"lr-00{at + 1}.png"), np.ascontiguousarray(frame))
    tracks = scan(tmp_path).tracks
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
    folder = write_track(tmp_path / "track_0", hr=0)
    (folder / "lr-002.png").write_bytes(b"no picture")
    tracks = scan(tmp_path).tracks
    config = load_config(settings=["data.merged=1", "data.hr_frames=none"])
    items = [FrameDataset(tracks, config, train=True)[sample] for sample in epoch_samples(tracks, config, 0)]
    assert sum(isinstance(item, Problem) for item in items) == 1
    assert sum(isinstance(item, dict) for item in items) == 4

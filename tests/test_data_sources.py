"""Several data sources: their names, their shares of an epoch, and what a run makes of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from data_samples import picture, write_image, write_track
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lpr.config import Config, load_config
from lpr.data.dataset import FrameDataset, Sample, collate, epoch_samples
from lpr.data.scan import scan
from lpr.data.sources import check_names, mix_shares, parse_sources, read_sources
from lpr.types import Frame, InputError, Track, UsageError


def config(*values: str) -> Config:
    return load_config(settings=values)


def mixed(shares: dict[str, float], *values: str) -> Config:
    return config(f"data.mix={{{', '.join(f'{k}: {v}' for k, v in shares.items())}}}", *values)


def fake(source: str, count: int, lr: int = 1, hr: int = 0) -> list[Track]:
    frames = [Frame(Path("x"), i + 1) for i in range(lr)] + [Frame(Path("x"), i + 1, "hr") for i in range(hr)]
    return [Track(f"{source}{i}", tuple(frames), "ABC1234", source=source) for i in range(count)]


def by_source(samples: list[Sample], tracks: list[Track]) -> Counter[str]:
    return Counter(tracks[s.track].source for s in samples)


def test_sources_on_the_command_line(tmp_path: Path) -> None:
    assert parse_sources(["data/real"]) == Path("data/real")
    assert parse_sources(["real=a", "synthetic=b=c"]) == {"real": Path("a"), "synthetic": Path("b=c")}
    assert parse_sources(["real=a"]) == {"real": Path("a")}
    (tmp_path / "x=y").mkdir()
    assert parse_sources([str(tmp_path / "x=y")]) == tmp_path / "x=y"
    for wrong in (["a", "b"], ["real=a", "b"], ["real=a", "real=b"]):
        with pytest.raises(UsageError, match="names"):
            parse_sources(wrong)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("data.mix={real: 1}", "data.mix: has no share for the source 'synthetic'"),
        ("data.mix={real: 1, synthetic: 1, reel: 1}", "data.mix: unknown source 'reel': --data has real, synthetic"),
        ("augment.sources={reel: light}", "augment.sources: unknown source 'reel'"),
        ("split.validate_on=reel", "split.validate_on: unknown source 'reel'"),
    ],
)
def test_names_must_agree(setting: str, expected: str) -> None:
    sources = {"real": Path("a"), "synthetic": Path("b")}
    with pytest.raises(InputError, match=expected):
        check_names(config(setting), sources)
    check_names(config("data.mix={real: 0, synthetic: 2}", "augment.sources={real: heavy}"), sources)
    with pytest.raises(InputError, match="--data names none"):
        check_names(config("split.validate_on=real"), Path("a"))


@pytest.mark.parametrize("mix", ["{a: 0, b: 0}", "{a: -1, b: 2}", "{a: .nan}", "{a: .inf}", "{a: much}", "3", "[1, 2]"])
def test_shares_must_be_numbers_with_a_positive_sum(mix: str) -> None:
    with pytest.raises(InputError, match=r"data\.mix"):
        config(f"data.mix={mix}")


def test_shares_are_normalised_and_need_tracks() -> None:
    tracks = fake("real", 3) + fake("synthetic", 2)
    assert mix_shares(mixed({"synthetic": 80, "real": 20}), tracks) == {"real": 0.2, "synthetic": 0.8}
    assert mix_shares(mixed({"synthetic": 3, "real": 0}), tracks) == {"synthetic": 1.0}
    assert mix_shares(config(), tracks) == {}
    with pytest.raises(InputError, match="'real' has no LR frame"):
        mix_shares(mixed({"synthetic": 1, "real": 1}), fake("synthetic", 2) + fake("real", 2, lr=0))


def test_an_epoch_holds_every_source_by_its_share_at_random_places() -> None:
    tracks = fake("synthetic", 700) + fake("real", 50)
    samples = epoch_samples(tracks, mixed({"synthetic": 0.8, "real": 0.2}), 0)
    assert by_source(samples, tracks) == {"synthetic": 600, "real": 150}
    batches = [by_source(samples[i : i + 50], tracks)["real"] for i in range(0, 750, 50)]
    assert min(batches) >= 3 and max(batches) <= 20 and len(set(batches)) > 3
    # 150 samples of 50 photographs: each exactly three times, its repeats drawn otherwise.
    real = Counter(s.track for s in samples if tracks[s.track].source == "real")
    assert set(real.values()) == {3} and len({(s.seed, s.frame, s.kind) for s in samples}) == 750
    only = epoch_samples(tracks, mixed({"synthetic": 1, "real": 0}), 0)
    assert by_source(only, tracks) == {"synthetic": 700}


def test_short_epochs_go_through_a_source_before_they_repeat_it() -> None:
    tracks = fake("synthetic", 100) + fake("real", 10)
    chosen = mixed({"synthetic": 0.8, "real": 0.2}, "data.epoch_samples=50")
    shown: Counter[int] = Counter()
    for epoch in range(5):
        samples = epoch_samples(tracks, chosen, epoch)
        assert len(samples) == 50 and by_source(samples, tracks) == {"synthetic": 40, "real": 10}
        shown += Counter(s.track for s in samples)
    # 200 synthetic samples in five epochs: every track twice; 50 real ones: every one five times.
    assert {shown[t] for t in range(100)} == {2} and {shown[t] for t in range(100, 110)} == {5}
    assert len(epoch_samples(tracks, config("data.epoch_samples=7"), 3)) == 7


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3), st.floats(0, 5)), min_size=1, max_size=4),
    st.integers(1, 120),
    st.integers(0, 3),
    st.floats(0, 0.9),
)
def test_shares_lengths_and_passes_hold_for_any_sources(
    rows: list[tuple[int, int, float]], length: int, epoch: int, hr_share: float
) -> None:
    tracks = [track for i, (count, hr, _) in enumerate(rows) for track in fake("abcd"[i], count, 2, hr)]
    shares = {"abcd"[i]: share for i, (_, _, share) in enumerate(rows)}
    if sum(shares.values()) < 0.01:
        return
    chosen = mixed(shares, f"data.epoch_samples={length}", f"data.hr_share={hr_share}")
    samples = epoch_samples(tracks, chosen, epoch)
    assert len(samples) == length and samples == epoch_samples(tracks, chosen, epoch)
    counts = by_source(samples, tracks)
    for name, share in shares.items():
        assert abs(counts[name] - length * share / sum(shares.values())) <= 1
        frames = Counter((s.track, s.frame) for s in samples if tracks[s.track].source == name and s.kind == "lr")
        # The epoch begins and ends within a pass: a frame comes at most twice more than another.
        times = [frames[t, f] for t, track in enumerate(tracks) if track.source == name for f in range(2)]
        assert max(times) - min(times) <= 2
        mine = [s for s in samples if tracks[s.track].source == name]
        has_hr = rows["abcd".index(name)][1] > 0
        assert abs(sum(s.kind != "lr" for s in mine) - hr_share * has_hr * len(mine)) <= 1


def test_the_curriculum_works_inside_each_source() -> None:
    tracks = fake("tracks", 200, 5, 5) + fake("photos", 300)
    samples = epoch_samples(tracks, mixed({"tracks": 1, "photos": 1}), 0, lambda i: 1.0 if i < 400 else 0.3)
    for places, kinds in ((samples[:400], {"hr"}), (samples[400:], {"lr", "hr", "hr_degraded"})):
        assert {s.kind for s in places if tracks[s.track].source == "tracks"} == kinds
        assert {s.kind for s in places if tracks[s.track].source == "photos"} == {"lr"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tracks and photographs, of which one photograph has a track's name and some the same texts."""
    root = tmp_path_factory.mktemp("sources")
    for number in range(20):
        write_track(root / "synthetic" / f"track_{number}", f"AAA10{number:02d}", lr=2, hr=0)
        write_image(root / "real" / f"AAA10{number:02d}.png", picture(60, 20, number))
    write_track(root / "real" / "track_3", "BBB2000", lr=1, hr=1)
    return {"synthetic": root / "synthetic", "real": root / "real"}


def test_reading_sources_names_tracks_and_keeps_ids_apart(folders: dict[str, Path]) -> None:
    found = read_sources(folders, config(), steps=32)
    assert Counter(track.source for track in found.tracks) == {"synthetic": 20, "real": 21}
    ids = [track.id for track in found.tracks]
    assert len(set(ids)) == 41 and {"real_track_3", "synthetic_track_3", "track_4", "AAA1000"} <= set(ids)
    backwards = dict(reversed(folders.items()))
    assert read_sources(backwards, config(), steps=32).tracks == found.tracks
    plain = read_sources(folders["real"], config(), steps=32)
    assert {track.source for track in plain.tracks} == {""} and plain.tracks == scan(folders["real"]).tracks


def test_bad_labels_are_counted_source_by_source(folders: dict[str, Path], tmp_path: Path) -> None:
    write_image(tmp_path / "few" / "photo.png")
    with pytest.raises(InputError, match="1 of 1 labels cannot be used"):
        read_sources({**folders, "few": tmp_path / "few"}, config("data.max_bad_labels=0.9"), steps=32)


def test_strength_by_source_and_the_same_bytes_for_any_number_of_workers(folders: dict[str, Path]) -> None:
    tracks = read_sources(folders, config(), steps=32).tracks
    values = ("augment.strength=light", "augment.sources={real: none}", "data.epoch_samples=24")
    chosen = mixed({"synthetic": 1, "real": 1}, *values)
    samples = epoch_samples(list(tracks), chosen, 1)

    def batches(workers: int) -> list[dict[str, Any]]:
        return list(
            DataLoader(
                FrameDataset(tracks, chosen, train=True), batch_size=8, sampler=samples, collate_fn=collate,  # type: ignore[arg-type]
                num_workers=workers,
            )
        )  # fmt: skip

    alone = batches(0)
    assert all(torch.equal(a["images"], b["images"]) for a, b in zip(alone, batches(2), strict=True))
    augmented, plain = FrameDataset(tracks, chosen, train=True), FrameDataset(tracks, chosen, train=False)
    for sample in samples:
        shown, still = augmented[replace(sample, kind="lr")], plain[replace(sample, kind="lr")]
        assert isinstance(shown, dict) and isinstance(still, dict)
        assert torch.equal(shown["image"], still["image"]) == (tracks[sample.track].source == "real")


def test_a_list_whose_paths_are_all_wrong_is_named_as_the_cause(tmp_path: Path) -> None:
    for number in range(4):
        write_image(tmp_path / f"{number}.png", picture())
    (tmp_path / "rec_train.txt").write_text("".join(f"elsewhere/{n}.png\tABC123{n}\n" for n in range(4)))
    with pytest.raises(InputError) as caught:
        read_sources(tmp_path, config(), steps=32)
    assert "4 of 4 labels cannot be used" in str(caught.value)
    assert "4 errors in the data, the first: " in str(caught.value) and "no such file: " in str(caught.value)

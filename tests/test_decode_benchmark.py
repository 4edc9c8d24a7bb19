"""The kept posteriors of synthetic tracks: what the default fusion is worth on them."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from training_case import load_script

from lpr.decode.decode import weigh_track
from lpr.decode.fusion import VOTES

benchmark = load_script("benchmark_fusion")


@pytest.fixture(scope="module")
def kept():
    return benchmark.load(benchmark.KEPT, None)


@pytest.mark.parametrize("most", [0, 2])
def test_the_default_is_never_below_the_best_vote(kept, most):
    tracks, formats = kept
    moved = benchmark.shifted(tracks[:120], most)
    usual = benchmark.right(moved, formats, benchmark.DEFAULT).mean()
    votes = {name: benchmark.right(moved, formats, benchmark.WAYS[name]).mean() for name in VOTES}
    assert usual >= max(votes.values()), votes


def test_the_order_of_frames_changes_nothing(kept):
    tracks, formats = kept
    rng = np.random.default_rng(0)
    for one, _ in tracks[:20]:
        order = rng.permutation(len(one.log_probs))
        other = replace(one, log_probs=tuple(one.log_probs[k] for k in order))
        (found, raw), (again, raw_again) = (weigh_track(some, benchmark.DEFAULT, formats) for some in (one, other))
        assert [found.text, *(text for text, _ in found.runners_up)] == [
            again.text,
            *(text for text, _ in again.runners_up),
        ]
        # Sums in another order differ in the last bit.
        for name, value in dataclasses.asdict(raw).items():
            assert value == pytest.approx(getattr(raw_again, name), rel=1e-12), name


def test_the_file_keeps_what_matters(kept, tmp_path):
    tracks, formats = kept
    benchmark.keep(tmp_path / "again.npz", tracks[:20], formats, "test")
    again, same = benchmark.load(tmp_path / "again.npz", None)
    assert [one.name for one in same] == ["brazilian", "mercosur"]
    for (one, text), (two, other) in zip(tracks[:20], again, strict=True):
        assert text == other
        assert np.allclose(np.exp(np.stack(one.log_probs)), np.exp(np.stack(two.log_probs)), atol=2e-3)
    assert benchmark.KEPT.stat().st_size < 1_500_000


def test_more_frames_read_more(kept, capsys):
    tracks, formats = kept
    assert len(benchmark.subsets(tracks[:2], 3)) == 10
    benchmark.ladder(tracks[:40], formats)
    rows = [line.split("|")[2].split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    shares = [float(row) for row in rows]
    assert len(shares) == 5 and shares[0] + 10 < shares[2] <= shares[4] + 2

"""The parts of training: losses against hand-made cases, schedules, state, the run folder's files, signals."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import pickle
import signal
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from lpr.config import TrainConfig, load_config
from lpr.model.recogniser import TrainingOutputs, build_recogniser
from lpr.training.display import time_to_go
from lpr.training.losses import Shares, compute_losses, slot_targets
from lpr.training.run import COLUMNS, RunFolder, fingerprint
from lpr.training.schedule import clean_share, learning_rate, plateau_reached
from lpr.training.setup import SHOWN_PROBLEMS
from lpr.training.state import Position, Trained, changed_end, read_state, restore, save_state
from lpr.training.stopping import StopRequest
from lpr.training.unreadable import UnreadableFrames
from lpr.types import Frame, InputError, Problem, Track


def test_ctc_loss_by_hand() -> None:
    # Two steps, classes blank, A, B, uniform: "A" has the three alignments AA, -A, A- of nine.
    outputs = TrainingOutputs(torch.zeros(1, 2, 3), None, None)
    losses = compute_losses(outputs, torch.tensor([1]), torch.tensor([1]), None, TrainConfig())
    assert float(losses.ctc) == pytest.approx(-math.log(3 / 9))
    assert float(losses.total) == float(losses.ctc)
    assert float(losses.slot) == float(losses.sr) == 0


def test_focal_ctc_weighs_a_label_by_what_it_lacks() -> None:
    logits = torch.zeros(2, 2, 3)
    logits[1, :, 1] = 3.0
    # Of two steps, classes blank, A, B: "A" has the alignments AA, -A and A-.
    blank, a, _ = logits[1, 0].softmax(-1).tolist()
    plain = [-math.log(3 / 9), -math.log(a * a + 2 * blank * a)]
    outputs = TrainingOutputs(logits, None, None)
    for focal in (0.5, 1.0, 2.0):
        losses = compute_losses(outputs, torch.tensor([1, 1]), torch.tensor([1, 1]), None, TrainConfig(focal=focal))
        expected = sum(loss * (1 - math.exp(-loss)) ** focal for loss in plain) / 2
        assert float(losses.ctc) == pytest.approx(expected, rel=1e-5)


def test_impossible_label_gives_zero_and_a_finite_gradient() -> None:
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    # "AA" needs three steps.
    for config in (TrainConfig(), TrainConfig(focal=0.5)):
        outputs = TrainingOutputs(logits, None, None)
        losses = compute_losses(outputs, torch.tensor([1, 1]), torch.tensor([2]), None, config)
        losses.total.backward()
        assert losses.total.item() == 0
        assert logits.grad is not None and bool((logits.grad == 0).all())


def test_slot_targets_are_padded_with_blanks() -> None:
    rows = slot_targets(torch.tensor([3, 4, 5, 6, 7]), torch.tensor([2, 3]), 4)
    assert rows.tolist() == [[3, 4, 0, 0], [5, 6, 7, 0]]


def test_parts_are_weighted() -> None:
    config = TrainConfig(slot_weight=2.0, sr_weight=3.0)
    slots = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    sr = torch.full((1, 1, 2, 2), 0.5)
    outputs = TrainingOutputs(torch.zeros(2, 4, 3), slots, sr)
    losses = compute_losses(
        outputs, torch.tensor([1, 2, 1]), torch.tensor([2, 1]), torch.zeros(1, 1, 2, 2, dtype=torch.uint8), config
    )
    expected = functional.cross_entropy(slots.reshape(4, 3), torch.tensor([1, 2, 1, 0]))
    assert float(losses.slot) == pytest.approx(float(expected))
    assert float(losses.sr) == pytest.approx(0.5)
    assert float(losses.total) == pytest.approx(float(losses.ctc + 2 * losses.slot + 3 * losses.sr))


def test_teacher_is_the_divergence_of_a_step_by_hand() -> None:
    # One of two samples is taught. The student's steps are uniform over two classes, the teacher says 0.75 and 0.25.
    outputs = TrainingOutputs(torch.zeros(2, 4, 2), None, None)
    teacher = torch.tensor([0.75, 0.25]).log().expand(1, 4, 2)
    taught = torch.tensor([False, True]), teacher
    config = TrainConfig(teacher_weight=2.0)
    losses = compute_losses(outputs, torch.tensor([1, 1]), torch.tensor([1, 1]), None, config, taught=taught)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(losses.teacher) == pytest.approx(expected)
    assert float(losses.total) == pytest.approx(float(losses.ctc) + 2 * expected)


def test_losses_of_unequal_parts_add_up_to_the_whole() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, slots = torch.randn(5, 8, 4, generator=draw), torch.randn(5, 2, 4, generator=draw)
    sr, wanted = torch.rand(3, 1, 2, 2, generator=draw), torch.randint(0, 256, (3, 1, 2, 2), generator=draw)
    targets, lengths = torch.tensor([1, 2, 3, 1, 2, 3, 1]), torch.tensor([2, 1, 1, 2, 1])
    whole = compute_losses(TrainingOutputs(logits, slots, sr), targets, lengths, wanted.byte(), TrainConfig())
    # Four pictures, one of the three HR targets; and one picture, two of them (as if it had two: only sums matter).
    parts = [
        compute_losses(
            TrainingOutputs(logits[a:b], slots[a:b], sr[c:d]), targets[e:f], lengths[a:b], wanted[c:d].byte(),
            TrainConfig(), shares=Shares((b - a) / 5, (d - c) / 3),
        )
        for a, b, c, d, e, f in ((0, 4, 0, 1, 0, 6), (4, 5, 1, 3, 6, 7))
    ]  # fmt: skip
    for name in ("total", "ctc", "slot", "sr"):
        assert sum(float(getattr(part, name)) for part in parts) == pytest.approx(float(getattr(whole, name)))


def test_learning_rates() -> None:
    assert learning_rate(TrainConfig(lr=1e-3, schedule="plateau", plateau_factor=0.5), 0.7, 2) == pytest.approx(2.5e-4)
    assert learning_rate(TrainConfig(lr=1e-3, schedule="constant"), 0.7, 2) == 1e-3
    cycle = TrainConfig(lr=1e-3, schedule="onecycle")
    rates = [learning_rate(cycle, i / 100, 0) for i in range(101)]
    peak = rates.index(max(rates))
    assert rates[peak] == pytest.approx(1e-3)
    assert 0 < peak < 40
    assert rates[0] == pytest.approx(1e-4) and rates[-1] == pytest.approx(1e-5)
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)


def test_cosine_warms_up_shortly_and_falls_to_nearly_nothing() -> None:
    rates = [learning_rate(TrainConfig(lr=1e-3, schedule="cosine"), i / 1000, 0) for i in range(1001)]
    assert rates[0] == pytest.approx(1e-4) and rates[20] == pytest.approx(1e-3) and rates[-1] == pytest.approx(1e-5)
    assert rates[510] == pytest.approx((1e-3 + 1e-5) / 2), "halfway between the peak and the end"
    assert rates[:21] == sorted(rates[:21]) and rates[20:] == sorted(rates[20:], reverse=True)


def test_plateau_waits_its_patience_again_after_each_fall() -> None:
    config = TrainConfig(schedule="plateau", plateau_patience=3)
    assert [stale for stale in range(13) if plateau_reached(config, stale)] == [4, 8, 12]
    assert not plateau_reached(TrainConfig(schedule="constant", plateau_patience=3), 4)


def test_curriculum_falls_from_all_clean_to_none() -> None:
    assert [clean_share(4, step) for step in (0, 1, 2, 4, 9)] == [1.0, 0.75, 0.5, 0.0, 0.0]
    assert clean_share(0, 0) == 0.0


def _trained(seed: int) -> Trained:
    torch.manual_seed(seed)
    model = build_recogniser(load_config(["cpu"], ["model.hidden=8"]))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.zeros(2, 3, 32, 128, dtype=torch.uint8)).sum().backward()
    optimizer.step()
    return Trained(model, optimizer, torch.amp.GradScaler(enabled=False))


def test_state_restores_weights_optimiser_and_random_numbers(tmp_path: Path) -> None:
    first, second = _trained(1), _trained(2)
    position = Position(epoch=3, batch=7, step=99, best=(0.5, 0.75), sums={"loss": 1.5})
    config = load_config(["cpu"])
    save_state(tmp_path / "last.pt", position, first, config, {"split": {"select": ["A"]}})
    expected = torch.rand(3)
    state = read_state(tmp_path / "last.pt")
    assert state["data"] == {"split": {"select": ["A"]}}
    assert restore(state, second) == position
    assert torch.equal(torch.rand(3), expected)
    for (name, a), b in zip(first.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    moments = [next(iter(t.optimizer.state.values()))["exp_avg_sq"] for t in (first, second)]
    assert torch.equal(*moments)


def test_a_state_without_a_scaler_is_resumed_with_one(tmp_path: Path) -> None:
    """As where a run that was begun on a CPU goes on on a GPU without bfloat16."""
    save_state(tmp_path / "last.pt", Position(step=5), _trained(1), load_config(), {})
    scaled = dataclasses.replace(_trained(2), scaler=torch.amp.GradScaler("cpu"))
    assert restore(read_state(tmp_path / "last.pt"), scaled).step == 5
    assert scaled.scaler.is_enabled() and scaled.scaler.get_scale() > 1


def test_damaged_and_missing_states_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to resume from"):
        read_state(tmp_path / "last.pt")
    save_state(tmp_path / "last.pt", Position(), _trained(1), load_config(), {})
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:-500])
    with pytest.raises(InputError, match="damaged"):
        read_state(tmp_path / "last.pt")
    (tmp_path / "last.pt").write_bytes(pickle.dumps({"position": Path("x")}))
    with pytest.raises(InputError, match="damaged") as caught:
        read_state(tmp_path / "last.pt")
    assert "weights_only" not in str(caught.value)
    torch.save({"weights": 1}, tmp_path / "last.pt")
    with pytest.raises(InputError, match="no training state of lpr"):
        read_state(tmp_path / "last.pt")


def test_another_configuration_is_named_setting_by_setting() -> None:
    then = load_config(["cpu"]).model_dump(mode="json")
    assert changed_end(then, load_config(["cpu"], ["data.workers=0", "train.max_minutes=5"]), Path("run")) == []
    with pytest.raises(InputError, match=r"train.lr: 0.001 then, 0.0005 now") as caught:
        changed_end(then, load_config(["cpu"], ["train.lr=5e-4"]), Path("run"))
    assert "model" not in str(caught.value)
    # A state of an older version, which did not have the setting: what counts is the default.
    del then["train"]["ema"]
    changed_end(then, load_config(["cpu"]), Path("run"))
    with pytest.raises(InputError, match=r"train.ema: 0.0 then, 0.9 now"):
        changed_end(then, load_config(["cpu"], ["train.ema=0.9"]), Path("run"))


def test_run_folder_describes_itself_and_is_not_overwritten(tmp_path: Path) -> None:
    config = load_config(["phase1", "cpu"], ["train.lr=5e-4"])
    run = RunFolder(tmp_path / "run")
    run.require_new()
    run.create(config, {"select": ["1E10"], "calibrate": ["00420"]})
    run.write_versions(torch.device("cpu"))
    assert load_config([str(run.config)]) == config
    assert json.loads(run.split.read_text()) == {"select": ["1E10"], "calibrate": ["00420"]}
    with pytest.raises(InputError, match="is there already") as caught:
        run.require_new()
    assert "--resume" in caught.value.problem.fix


def test_log_is_cut_after_the_resumed_epoch(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.cut_log(0)
    for epoch in range(4):
        run.append_log(dict.fromkeys(COLUMNS, epoch))
    with run.log.open("a") as handle:
        handle.write("4,1")  # a kill in the middle of a row
    run.cut_log(2)
    run.append_log(dict.fromkeys(COLUMNS, 3))
    with run.log.open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert tuple(rows[0]) == COLUMNS


def test_fingerprint_knows_content_but_not_order() -> None:
    a, b = Track("1", (Frame(Path("x/lr-001.png"), 1),), "ABC1234"), Track("2", (), "XYZ1234")
    assert fingerprint([a, b]) == fingerprint([b, a])
    assert fingerprint([a, b]) != fingerprint([a, Track("2", (), "XYZ1235")])
    assert fingerprint([a]) != fingerprint([Track("1", (), "ABC1234")])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_second_acts(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest(0) as stop:
        assert stop.reason == ""
        os.kill(os.getpid(), number)
        assert stop.reason == "interrupted"
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_time_to_go_in_words() -> None:
    assert [time_to_go(seconds) for seconds in (3, 80, 100, 7_203)] == [
        f"about {text} to go" for text in ("1 minute", "1 minute", "2 minutes", "120 minutes")
    ]


def test_unreadable_frames_are_named_once_and_not_all() -> None:
    lines: list[str] = []
    frames = UnreadableFrames(lines.append, strict=False)
    for number in (*range(25), 3):
        frames.name([Problem(f"x/lr-{number}.png", "is broken")])
    frames.count(25, 100, "frames of epoch 1")
    frames.count(0, 100, "frames of epoch 2")
    assert len(lines) == SHOWN_PROBLEMS + 2
    assert lines[-1] == "warning: 25 of 100 frames of epoch 1 (25.0%) cannot be read"


def test_time_limit() -> None:
    assert StopRequest(1e-9).reason == "time"
    assert StopRequest(60).reason == ""

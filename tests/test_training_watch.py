"""The checks that speak, errors for a lack of memory, weight averaging, and the pictures of an epoch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from training_case import TINY, interrupt_before, make_data

from lpr.config import Config, load_config
from lpr.data.scan import scan
from lpr.model import checkpoint
from lpr.model.recogniser import build_recogniser
from lpr.training import loop
from lpr.training.average import WeightAverage, check_teacher
from lpr.training.memory import enough_memory
from lpr.training.samples import KEPT, chosen, write_epoch_picture
from lpr.training.state import read_state
from lpr.training.watch import FLAT_EPOCHS, STEPS_TO_LEARN, Watch, label_notes
from lpr.types import InputError, Prediction, Problem, Track


def _predictions(*texts: str) -> list[Prediction]:
    return [Prediction(str(number), text, 0.5) for number, text in enumerate(texts)]


def _row(**figures: float) -> dict[str, float]:
    return {"loss": 3.0, "ctc": 2.76, "exact": 0.0, "loader_wait": 0.0, "lr": 1e-3, **figures}


def _watch() -> tuple[Watch, list[str]]:
    lines: list[str] = []
    return Watch(lines.append, load_config(["phase1", "cpu"])), lines


def test_constant_predictions_are_said_once() -> None:
    watch, lines = _watch()
    watch.readings(_predictions("ABC1234", "ABC1235"), ["XYZ1234", "XYZ1235"])
    watch.readings(_predictions("ABC1234", "ABC1234"), ["ABC1234", "ABC1234"])
    assert not lines, "different readings, or truths that are the same, are no fault"
    for _ in range(2):
        watch.readings(_predictions("", ""), ["XYZ1234", "XYZ1235"])
    assert len(lines) == 1 and "all 2 held-out tracks are read as ''" in lines[0] and "lpr.check" in lines[0]


def test_no_learning_is_said_after_enough_steps_where_nothing_is_right_and_ctc_stands() -> None:
    watch, lines = _watch()
    watch.figures([_row(ctc=2.80), _row(ctc=2.76)], STEPS_TO_LEARN - 1)
    watch.figures([_row(ctc=2.80), _row(ctc=2.5)], STEPS_TO_LEARN)
    watch.figures([_row(ctc=2.80), _row(ctc=2.76, exact=0.1)], STEPS_TO_LEARN)
    watch.figures([{"exact": 0.0}, _row(ctc=2.76)], STEPS_TO_LEARN)
    assert not lines
    for _ in range(2):
        watch.figures([_row(ctc=2.80), _row(ctc=2.76)], STEPS_TO_LEARN)
    assert len(lines) == 1 and "CTC stands at 2.76 (an epoch ago 2.80)" in lines[0] and "curriculum_steps" in lines[0]


def test_flat_loss_and_slow_loader_are_said_once() -> None:
    watch, lines = _watch()
    falling = [_row(loss=3 - epoch / 10, exact=0.3) for epoch in range(FLAT_EPOCHS + 1)]
    watch.figures(falling, 10)
    watch.figures([_row(exact=0.3)] * FLAT_EPOCHS, 10)
    assert not lines
    for _ in range(2):
        watch.figures([_row(exact=0.3)] * (FLAT_EPOCHS + 1), 10)
    assert len(lines) == 1 and "flat at 3 for 5 epochs" in lines[0] and "train.lr" in lines[0]
    for _ in range(2):
        watch.figures([_row(loader_wait=0.45)], 10)
    assert len(lines) == 2 and "waits 45% of the time for data" in lines[1] and "data.workers (now 1" in lines[1]


def test_labels_without_image_and_images_without_label_are_counted() -> None:
    found = [Problem("a", "no such file: x.png"), Problem("b", "no label"), Problem("c", "no label"), Problem("d", "?")]
    orphans, unlabelled = label_notes(found)
    assert "1 labels match no image" in orphans and "2 tracks have no label" in unlabelled
    assert label_notes(found[3:]) == []


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "the GPU's memory does not suffice for 64 at once"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "the machine's memory does not suffice",
        ),
        (MemoryError(), "the machine's memory does not suffice"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "a loader process died"),
    ],
)
def test_lack_of_memory_names_the_batch_size(error: Exception, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught, enough_memory("train.batch_size", 64):
        raise error
    assert "train.batch_size=32" in caught.value.problem.fix


def test_a_real_failed_allocation_is_a_lack_of_memory_and_other_errors_stay() -> None:
    with pytest.raises(InputError, match="does not suffice"), enough_memory("train.batch_size", 8):
        torch.empty(2**55, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shapes"), enough_memory("train.batch_size", 8):
        raise RuntimeError("shapes do not fit")


def _config(*more: str) -> Config:
    return load_config(["phase1", "cpu"], [*TINY, *more])


def test_average_follows_the_weights_and_copies_statistics() -> None:
    model = build_recogniser(_config())
    average = WeightAverage(model, 0.9)
    before = [p.clone() for p in average.model.parameters()]
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor += 1
    # Warm-up: at step 1 the decay is 2 / 11, far from the end 0.9.
    average.update(model, 1)
    for old, new in zip(before, average.model.parameters(), strict=True):
        torch.testing.assert_close(new, old + 9 / 11)
    assert all(torch.equal(a, b) for a, b in zip(average.model.buffers(), model.buffers(), strict=True))
    average.update(model, 10**6)
    for old, new in zip(before, average.model.parameters(), strict=True):
        torch.testing.assert_close(new, old + 9 / 11 + 0.1 * 2 / 11)
    assert not average.model.training and not any(p.requires_grad for p in average.model.parameters())


def test_a_teacher_reads_the_crop_at_half_its_size() -> None:
    average = WeightAverage(build_recogniser(_config()), 0.9)
    small = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(average.read_clean(large), average.model(small))


def test_a_teacher_needs_an_average_and_clean_crops() -> None:
    check_teacher(_config("train.teacher_weight=1", "train.ema=0.9"))
    with pytest.raises(InputError, match="needs the averaged weights"):
        check_teacher(_config("train.teacher_weight=1"))
    with pytest.raises(InputError, match="needs degraded HR samples"):
        check_teacher(_config("train.teacher_weight=1", "train.ema=0.9", "data.hr_frames=as_is"))


def test_run_with_average_and_teacher_resumes_bit_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data")
    config = _config("train.ema=0.9", "train.teacher_weight=0.5", "train.curriculum_steps=0")
    assert loop.train(config, data, tmp_path / "straight") == ""
    assert ", teacher " in capfd.readouterr().err
    interrupt_before(monkeypatch, 4)
    assert loop.train(config, data, tmp_path / "run") == "interrupted"
    monkeypatch.undo()
    torch.manual_seed(999)
    assert loop.train(config, data, tmp_path / "run", resume=True) == ""
    ends = [read_state(tmp_path / name / "last.pt") for name in ("straight", "run")]
    for which in ("model", "average"):
        for name, weights in ends[0][which].items():
            assert torch.equal(weights, ends[1][which][name]), (which, name)
    assert checkpoint.load(tmp_path / "run").hash == checkpoint.load(tmp_path / "straight").hash
    name = "classifier.weight"
    assert not torch.equal(ends[0]["model"][name], ends[0]["average"][name])
    if ends[0]["position"]["stale"] == 0:
        best = checkpoint.load(tmp_path / "run").model.state_dict()
        torch.testing.assert_close(best[name], ends[0]["average"][name])


def test_best_and_worst_tracks_are_chosen_by_confidence_and_distance() -> None:
    tracks = [Track(str(number), (), "ABC1234") for number in range(30)]
    texts = ["ABC1234"] * 10 + ["ABC1230"] * 10 + ["XYZ9999"] * 10
    predictions = [Prediction(str(n), text, n / 100) for n, text in enumerate(texts)]
    (_, some), (_, best), (_, worst) = chosen(tracks, predictions, 3)
    assert len(some) == 10 and len({track.id for track, _ in some}) == 10
    assert [track.id for track, _ in best] == ["9", "8", "7", "6", "5"]
    assert [track.id for track, _ in worst] == ["29", "28", "27", "26", "25"]
    assert chosen(tracks, predictions, 3) == chosen(tracks, predictions, 3) != chosen(tracks, predictions, 4)
    assert [heading.split(":")[0] for heading, _ in chosen(tracks[10:], predictions[10:], 0)] == ["random", "worst"]


def test_the_last_pictures_and_the_best_stay(tmp_path: Path) -> None:
    tracks = scan(make_data(tmp_path / "data")).tracks[:3]
    predictions = [Prediction(t.id, "ABC1234", 0.5) for t in tracks]
    for epoch in range(1, 10):
        write_epoch_picture(tmp_path / "pictures", tracks, predictions, epoch, best_epoch=2)
    left = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert left == [f"epoch_{epoch:03d}.png" for epoch in (2, *range(10 - KEPT, 10))]
    picture = cv2.imread(str(tmp_path / "pictures" / left[0]))[..., ::-1].astype(int)
    red = (picture[..., 0] - picture[..., 1:].max(-1)) > 120
    assert np.count_nonzero(red) > 100, "wrong letters are red"

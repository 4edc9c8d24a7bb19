"""Predictions as JSON lines."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lpr.decode.records import from_record, read_predictions, to_record
from lpr.types import InputError, Prediction, Problem, Reading

PREDICTION = Prediction(
    "00420",
    "NA1E100",
    0.1 + 0.2,
    "mercosur",
    (Reading("1E10123", 0.5, -1.25, file="lr-001.png"), Reading("AAA0000", 0.25, -np.inf, file="lr-002.png")),
    (("ABC1234", 0.125),),
    (Problem("t/lr-003.png", "is empty", "copy it again", "error"), Problem("t", "é\u2028")),
    (("mercosur", 0.75), ("brazilian", 0.25)),
)


def line(**changes) -> str:
    record = to_record(PREDICTION, {"model_hash": "abc"})
    record.update(changes)
    return json.dumps(record)


def test_a_prediction_survives_the_file(tmp_path):
    text = json.dumps(to_record(PREDICTION, {"model_hash": "abc"}), allow_nan=False, ensure_ascii=False)
    (tmp_path / "p.jsonl").write_text(text + "\n\n", encoding="utf-8")
    assert read_predictions(tmp_path / "p.jsonl") == [PREDICTION]
    record = json.loads(text)
    assert record["audit"] == {"model_hash": "abc"}
    fields = {"track_id", "text", "confidence", "format", "frames", "runners_up", "problems", "format_probs", "audit"}
    assert set(record) == fields
    assert record["frames"][1] == {"file": "lr-002.png", "text": "AAA0000", "score": 0.25, "log_prob": None}


def test_a_text_without_format_is_kept():
    bare = Prediction("t", "XX", 0.0)
    assert from_record(to_record(bare, {})) == bare


def test_a_file_of_the_first_version_has_no_format_probs():
    record = to_record(PREDICTION, {})
    del record["format_probs"]
    assert from_record(record).format_probs == () and from_record(record).text == PREDICTION.text


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (line()[:-20], "is not JSON"),
        ("\xff", "is not JSON"),
        ("[1]", "JSON object"),
        ("{}", "'track_id' is missing"),
        (line(text=420), "'text' must be text"),
        (line(confidence="0.5"), "'confidence' must be a number"),
        (line(confidence=True), "'confidence' must be a number"),
        (line(confidence=1.5), r"\[0, 1\]"),
        (line(confidence=float("nan")), "NaN"),
        (line(confidence=10**400), "is not JSON|number"),
        (line(frames={"a": 1}), "'frames' must be a list"),
        (line(frames=[{"file": "x"}]), "missing"),
        (line(runners_up=[{"text": "A", "prob": -1}]), r"\[0, 1\]"),
        (line(), "stands on line 1 already"),
    ],
)
def test_a_broken_line_is_named(tmp_path, broken, says):
    path = tmp_path / "p.jsonl"
    path.write_bytes(f"{line()}\n".encode() + broken.encode("latin-1") + b"\n")
    with pytest.raises(InputError, match=says) as caught:
        read_predictions(path)
    assert caught.value.problem.where == f"{path}:2"


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_predictions(tmp_path / "none.jsonl")

"""Predictions as JSON lines, each with the record of how it was made; written and read by the same grammar."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..types import InputError, Prediction, Problem, Reading

if TYPE_CHECKING:
    from ..config import Config


def audit_record(model_hash: str, checkpoint: str, config: Config) -> dict[str, Any]:
    """How predictions made now are made: which weights, which settings, which version, and when (UTC)."""
    return {
        "model_hash": model_hash,
        "checkpoint": checkpoint,
        "config": {"input": config.input.model_dump(mode="json"), "read": config.read.model_dump(mode="json")},
        "lpr_version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def to_record(prediction: Prediction, audit: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a prediction, free of NaN and infinities: a log_prob of -inf becomes None.

    `audit`: see `audit_record`. What is said of single frames keeps 6 decimals; probabilities of the track are whole,
    so that raw values can be calibrated from the file.
    """
    return {
        "track_id": prediction.track_id,
        "text": prediction.text,
        "confidence": prediction.confidence,
        "format": prediction.format,
        "frames": [
            {
                "file": reading.file,
                "text": reading.text,
                "score": round(reading.score, 6),
                "log_prob": round(reading.log_prob, 6) if math.isfinite(reading.log_prob) else None,
            }
            for reading in prediction.per_frame
        ],
        "runners_up": [{"text": text, "prob": prob} for text, prob in prediction.runners_up],
        "format_probs": [{"format": name, "prob": prob} for name, prob in prediction.format_probs],
        "problems": [
            {"where": p.where, "what": p.what, "fix": p.fix, "severity": p.severity} for p in prediction.problems
        ],
        "audit": dict(audit),
    }


def from_record(record: Mapping[str, Any]) -> Prediction:
    """The reverse of `to_record`, without the audit.

    Raises:
        InputError: a field is missing or has the wrong type; a text that became a number (00420 -> 420) is one.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"a prediction is a JSON object, not {record!r:.60}")
    plate_format = record.get("format")
    return Prediction(
        track_id=_text(record, "track_id"),
        text=_text(record, "text"),
        confidence=_prob(record, "confidence"),
        format=None if plate_format is None else _text(record, "format"),
        per_frame=tuple(
            Reading(
                _text(frame, "text"),
                _prob(frame, "score"),
                -math.inf if frame.get("log_prob") is None else _number(frame, "log_prob"),
                file=_text(frame, "file"),
            )
            for frame in _objects(record, "frames")
        ),
        runners_up=tuple((_text(other, "text"), _prob(other, "prob")) for other in _objects(record, "runners_up")),
        problems=tuple(
            Problem(
                _text(problem, "where"),
                _text(problem, "what"),
                _text(problem, "fix"),
                "error" if problem.get("severity") == "error" else "warning",
            )
            for problem in _objects(record, "problems")
        ),
        # Files of earlier builds have none.
        format_probs=tuple(
            (_text(one, "format"), _prob(one, "prob"))
            for one in (_objects(record, "format_probs") if "format_probs" in record else ())
        ),
    )


def read_predictions(path: Path | str) -> list[Prediction]:
    """Read a file of JSON lines.

    Raises:
        InputError: the file cannot be read, or a line is broken or names a track a second time; says file and line.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    predictions: list[Prediction] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            prediction = from_record(json.loads(line.decode("utf-8"), parse_constant=_no_constant))
            if (first := seen.setdefault(prediction.track_id, number)) != number:
                raise InputError(f"track {prediction.track_id} stands on line {first} already")
        except (RecursionError, OverflowError, ValueError) as error:
            raise InputError(
                f"is not JSON: {error}", where=f"{path}:{number}", fix="was the file cut short? read the tracks again"
            ) from error
        except InputError as error:
            raise InputError(error.problem.what, where=f"{path}:{number}", fix=error.problem.fix) from error
        predictions.append(prediction)
    return predictions


def first_audit(path: Path | str) -> dict[str, Any]:
    """The audit record of a file's first prediction; empty where there is none, or no such file."""
    try:
        with Path(path).open(encoding="utf-8") as handle:
            found = json.loads(handle.readline())["audit"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise InputError(f"field {name!r} is missing")
    return record[name]


def _text(record: Mapping[str, Any], name: str) -> str:
    value = _field(record, name)
    if not isinstance(value, str):
        raise InputError(f"field {name!r} must be text, not {value!r:.60}", fix="texts stand in quotes")
    return value


def _number(record: Mapping[str, Any], name: str) -> float:
    value = _field(record, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"field {name!r} must be a number, not {value!r:.60}")
    return float(value)


def _prob(record: Mapping[str, Any], name: str) -> float:
    value = _number(record, name)
    if not 0 <= value <= 1:
        raise InputError(f"field {name!r} must lie in [0, 1], not {value!r:.60}")
    return value


def _objects(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    values = _field(record, name)
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        raise InputError(f"field {name!r} must be a list of objects, not {values!r:.60}")
    return values

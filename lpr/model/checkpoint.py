"""Checkpoints: one safetensors file that rebuilds its own recogniser and says what it reads and how it was made.

The file's metadata holds one JSON text under the key `lpr`: config, alphabet, input size, formats (with
their templates, so that reading needs no other file), calibration, the split's held-out texts, version, git commit,
training figures.
Nothing in it is executed on loading.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .. import __version__
from ..config import Config, parse_config
from ..files import atomic_path
from ..formats import PlateFormat, load_formats
from ..types import InputError
from .recogniser import AUXILIARY, Recogniser, build_recogniser

FILE_NAME = "model.safetensors"
_REMEDY = "train one with python -m lpr.train, or copy the file again"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint; `model` is in evaluation mode.

    calibration: what lpr.decode.confidence.Calibration.from_dict takes, or None. hash: see `model_hash`. split: (select
    texts, calibrate texts) that were held out of training, or None. figures: how it was trained and what it reached.
    """

    model: Recogniser
    config: Config
    alphabet: str
    formats: tuple[PlateFormat, ...]
    calibration: dict[str, Any] | None
    hash: str
    path: Path
    split: tuple[frozenset[str], frozenset[str]] | None
    figures: Mapping[str, Any]


def model_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256, 64 hex digits, over the tensors' names, types, shapes and bytes in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(path: Path, model: Recogniser, config: Config, extra: Mapping[str, Any]) -> str:
    """Write a checkpoint atomically; returns its model hash.

    extra: JSON values beside the standard ones: calibration (dict or None), split ({"select": [texts], "calibrate":
    [texts]} or None), figures (dict). InputError if the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    formats = load_formats(config.read.formats)
    metadata = {
        "config": config.model_dump(mode="json"),
        "alphabet": config.model.alphabet,
        "input": config.input.model_dump(mode="json"),
        # The drawing part is the generator's business, and the path is of this machine.
        "formats": [asdict(f) | {"drawing": {}, "path": None} for f in formats],
        "hash": model_hash(tensors),
        "version": __version__,
        "git_commit": git_commit(),
        "calibration": None,
        "split": None,
        "figures": {},
        **extra,
    }
    path = Path(path)
    with atomic_path(path) as aside:
        save_file(tensors, aside, {"lpr": json.dumps(metadata, ensure_ascii=False, allow_nan=False)})
    return str(metadata["hash"])


def recalibrate(path: Path, calibration: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    """Give a checkpoint file another calibration and the `read` settings that it was fitted with; weights stay."""
    tensors, metadata = _read(path)
    metadata["calibration"] = dict(calibration)
    metadata["config"] = {**metadata["config"], "read": dict(read)}
    with atomic_path(path) as aside:
        save_file(tensors, aside, {"lpr": json.dumps(metadata, ensure_ascii=False, allow_nan=False)})


def git_commit() -> str | None:
    """The commit of the source tree this package lies in, with "-dirty" where files differ, or None."""
    command = ["git", "-C", str(Path(__file__).resolve().parents[2]), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def find(path: Path | str) -> Path:
    """The checkpoint file that `path` means: the file itself, a `best` folder, or a run folder."""
    path = Path(path)
    if path.is_dir():
        for candidate in (path / FILE_NAME, path / "best" / FILE_NAME):
            if candidate.is_file():
                return candidate
        raise InputError(f"holds no {FILE_NAME} and no best/{FILE_NAME}", where=path, fix=_REMEDY)
    if not path.is_file():
        raise InputError("no such checkpoint", where=path, fix=_REMEDY)
    return path


def load(path: Path | str, device: torch.device | str = "cpu") -> Checkpoint:
    """Load a checkpoint from its file, its `best` folder or its run folder, onto `device`, in evaluation mode.

    InputError for a file that is cut short, a pickle, not of this project, or whose alphabet, names or shapes do not
    belong together.
    """
    path = find(path)
    tensors, metadata = _read(path)
    config = parse_config(_entry(metadata, "config", dict, path), str(path))
    alphabet: str = _entry(metadata, "alphabet", str, path)
    if alphabet != config.model.alphabet:
        raise InputError(
            f"its alphabet {alphabet} is not that of its configuration, {config.model.alphabet}",
            where=path,
            fix=_REMEDY,
        )
    try:
        formats = tuple(
            PlateFormat(f["name"], tuple(f["templates"]), f["layout"], f["prior"])
            for f in _entry(metadata, "formats", list, path)
        )
        split = metadata.get("split")
        held_out = (frozenset(split["select"]), frozenset(split["calibrate"])) if split else None
    except (KeyError, TypeError) as error:
        raise InputError(f"its metadata is incomplete: {error}", where=path, fix=_REMEDY) from error
    classes = len(alphabet) + 1
    if (rows := tensors.get("classifier.weight")) is not None and len(rows) != classes:
        raise InputError(
            f"its classifier has {len(rows)} classes, but its alphabet needs {classes} (with the blank)",
            where=path,
            fix="the file was altered; " + _REMEDY,
        )
    model = build_recogniser(config, formats)
    load_tensors(model, tensors, path)
    return Checkpoint(
        model=model.to(device).eval(),
        config=config,
        alphabet=alphabet,
        formats=formats,
        calibration=metadata.get("calibration"),
        hash=model_hash(tensors),
        path=path,
        split=held_out,
        figures=metadata.get("figures", {}),
    )


def load_tensors(model: Recogniser, tensors: Mapping[str, Tensor], path: Path, *, auxiliary: bool = True) -> None:
    """Copy `tensors` into `model`; InputError names the first key or shape that does not fit.

    auxiliary: whether the training-only heads must fit too; a later phase may add or drop them.
    """
    wanted = model.state_dict()

    def counts(name: str) -> bool:
        return auxiliary or not name.startswith(AUXILIARY)

    missing = [name for name in wanted if counts(name) and name not in tensors]
    unknown = [name for name in tensors if counts(name) and name not in wanted]
    if missing or unknown:
        what = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which its network has no place for"
        raise InputError(f"{what} ({len(missing)} missing, {len(unknown)} unknown)", where=path, fix=_REMEDY)
    fitting = {}
    for name, tensor in tensors.items():
        if name in wanted and tensor.shape == wanted[name].shape:
            fitting[name] = tensor
        elif counts(name):
            shapes = f"{tuple(tensor.shape)}, its network needs {tuple(wanted[name].shape)}"
            raise InputError(f"{name} has shape {shapes}", where=path, fix=_REMEDY)
    model.load_state_dict({**wanted, **fitting})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and our metadata of a safetensors file."""
    try:
        with path.open("rb") as handle:
            start = handle.read(2)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    # torch.save writes a zip archive ("PK"), older pickles start with opcode 0x80 and their protocol number.
    if start == b"PK" or (start[:1] == b"\x80" and path.suffix != ".safetensors"):
        raise InputError(
            "is a pickle of PyTorch, which could run code and names no alphabet",
            where=path,
            fix=f"name best/{FILE_NAME} of the run; last.pt serves --resume only",
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the handle is no mapping
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"is cut short or no safetensors file: {error}", where=path, fix=_REMEDY) from error
    if "lpr" not in metadata:
        what = "is a safetensors file, but no checkpoint of lpr (no alphabet, no config)"
        raise InputError(what, where=path, fix=_REMEDY)
    try:
        parsed = json.loads(metadata["lpr"])
    except ValueError as error:
        raise InputError(f"its metadata is no JSON: {error}", where=path, fix=_REMEDY) from error
    if not isinstance(parsed, dict):
        raise InputError("its metadata is no JSON object", where=path, fix=_REMEDY)
    return tensors, parsed


def _entry(metadata: Mapping[str, Any], key: str, kind: type, path: Path) -> Any:
    value = metadata.get(key)
    if not isinstance(value, kind):
        raise InputError(f"its metadata has no {key!r}", where=path, fix=_REMEDY)
    return value

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import __version__
from ..config import Config, stored_config
from ..data.splits import HeldOut
from ..files import write_bytes
from ..formats import PlateFormat, load_formats, name_of, read_common
from ..types import InputError
from .recogniser import AUXILIARY, GROWN, Recogniser, build_recogniser

FILE_NAME = "model.safetensors"
_REMEDY = "train one with python -m lpr.train, or copy the file again"


Model = TypeVar("Model")


@dataclass(frozen=True, slots=True)
class Checkpoint(Generic[Model]):
    """A loaded checkpoint; `model` is in evaluation mode.

    calibration: what lpr.decode.confidence.Calibration.from_dict takes, or None. hash: see `model_hash`. split: the
    texts that were held out of training, or None. figures: how it was trained and what it reached.
    """

    model: Model
    config: Config
    alphabet: str
    formats: tuple[PlateFormat, ...]
    calibration: dict[str, Any] | None
    hash: str
    path: Path
    split: HeldOut | None
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

    extra: JSON values beside the standard ones: calibration (dict or None), split (what
    HeldOut.to_dict gives, or None), figures (dict). InputError if the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    formats = load_formats(config.read.formats)
    metadata = {
        "config": config.model_dump(mode="json"),
        "alphabet": config.model.alphabet,
        "input": config.input.model_dump(mode="json"),
        "formats": [f.to_dict() for f in formats],
        "hash": model_hash(tensors),
        "version": __version__,
        "git_commit": git_commit(),
        "calibration": None,
        "split": None,
        "figures": {},
        **extra,
    }
    _write(path, tensors, metadata)
    return str(metadata["hash"])


def recalibrate(
    path: Path, calibration: Mapping[str, Any], read: Mapping[str, Any], formats: Sequence[PlateFormat], target: Path
) -> None:
    """Write to `target`, which may be `path`, a checkpoint with another calibration, and the `read` settings and
    `formats` that it was fitted with; the weights are those of `path`.

    Its own formats, whose templates are the same, are taken over with their priors; others stay where they were given.
    """
    tensors, metadata = _read(path)
    _write(target, tensors, recalibrated(metadata, calibration, read, formats))


def recalibrated(
    metadata: Mapping[str, Any],
    calibration: Mapping[str, Any],
    read: Mapping[str, Any],
    formats: Sequence[PlateFormat],
) -> dict[str, Any]:
    """The metadata of a checkpoint with what `recalibrate` changes."""
    anew = {one.name: one.to_dict() for one in formats}
    own = {v["name"] for v in metadata["formats"] if anew.get(v["name"], v)["templates"] == v["templates"]}
    named = [name_of(given) if name_of(given) in own else given for given in read.get("formats", ())]
    return {
        **metadata,
        "calibration": dict(calibration),
        "config": {**metadata["config"], "read": {**read, **({"formats": named} if named else {})}},
        "formats": [anew.get(v["name"], v) if v["name"] in own else v for v in metadata["formats"]],
    }


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


def load(path: Path | str, device: torch.device | str = "cpu") -> Checkpoint[Recogniser]:
    """Load a checkpoint from its file, its `best` folder or its run folder, onto `device`, in evaluation mode.

    InputError for a file that is cut short, altered since it was saved, a pickle, not of this project, whose alphabet,
    names or shapes do not belong together, or whose weights are not finite.
    """
    path = find(path)
    tensors, metadata = _read(path)

    def build(config: Config, formats: Sequence[PlateFormat]) -> Recogniser:
        classes = len(config.model.alphabet) + 1
        if (rows := tensors.get("classifier.weight")) is not None and len(rows) != classes:
            raise InputError(
                f"its classifier has {len(rows)} classes, but its alphabet needs {classes} (with the blank)",
                where=path,
                fix="the file was altered; " + _REMEDY,
            )
        # The weights drawn here are written over at once; loading must not change what a training run draws next.
        with torch.random.fork_rng(devices=()):
            model = build_recogniser(config, formats)
        load_tensors(model, tensors, path)
        _check_weights(tensors, _entry(metadata, "hash", str, path), path)
        return model.to(device).eval()

    return described(metadata, path, build)


def described(
    metadata: Mapping[str, Any], path: Path, build: Callable[[Config, Sequence[PlateFormat]], Model]
) -> Checkpoint[Model]:
    """The checkpoint whose file holds this metadata, with the network that `build` makes; InputError as for `load`."""
    config = stored_config(_entry(metadata, "config", dict, path), str(path))
    alphabet: str = _entry(metadata, "alphabet", str, path)
    if alphabet != config.model.alphabet:
        raise InputError(
            f"its alphabet {alphabet} is not that of its configuration, {config.model.alphabet}",
            where=path,
            fix=_REMEDY,
        )
    formats = tuple(_format(values, path) for values in _entry(metadata, "formats", list, path))
    if not formats:
        raise InputError("its metadata names no format", where=path, fix=_REMEDY)
    split = _entry(metadata, "split", dict, path, optional=True)
    held_out = None
    if split is not None:
        # Older checkpoints have no test fold.
        split = {"test": [], **split}
        held_out = HeldOut(*(frozenset(_texts(split, name, path)) for name in HeldOut._fields))
    return Checkpoint(
        model=build(config, formats),
        config=config,
        alphabet=alphabet,
        formats=formats,
        calibration=_entry(metadata, "calibration", dict, path, optional=True),
        hash=_entry(metadata, "hash", str, path),
        path=path,
        split=held_out,
        figures=_entry(metadata, "figures", dict, path, optional=True) or {},
    )


def served_formats(path: Path) -> tuple[str, ...]:
    """The names of the formats that a checkpoint file was trained for; InputError as for `load`."""
    return tuple(_format(values, path).name for values in _entry(read_metadata(path), "formats", list, path))


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a checkpoint file; InputError as for `load`."""
    return _read(path)[1]


def load_tensors(model: Recogniser, tensors: Mapping[str, Tensor], path: Path, *, later_phase: bool = False) -> None:
    """Copy `tensors` into `model`; InputError names the first key or shape that does not fit.

    later_phase: `model` may have other training-only heads than the network that `tensors` come from, and blocks that
    that one lacks, which begin as the identity.
    """
    wanted = model.state_dict()

    def counts(name: str) -> bool:
        return not (later_phase and name.startswith(AUXILIARY))

    def may_be_new(name: str) -> bool:
        return later_phase and name.startswith(GROWN)

    missing = [name for name in wanted if counts(name) and name not in tensors and not may_be_new(name)]
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


def _write(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, Any]) -> None:
    text = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
    write_bytes(path, safetensors.torch.save(tensors, {"lpr": text}))


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
    if path.suffix == ".onnx":
        raise InputError("is exported, to be read with only", where=path, fix="name what it was exported from")
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


def _check_weights(tensors: Mapping[str, Tensor], saved_hash: str, path: Path) -> None:
    """InputError unless the weights are those that were saved, and numbers."""
    if model_hash(tensors) != saved_hash:
        raise InputError("its weights were altered or damaged after it was saved", where=path, fix=_REMEDY)
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        what = f"its weights are not finite ({broken[0]}; {len(broken)} of {len(tensors)} tensors)"
        raise InputError(what, where=path, fix="the training went astray; " + _REMEDY)


def _entry(
    metadata: Mapping[str, Any], key: str, kind: type | tuple[type, ...], path: Path, *, optional: bool = False
) -> Any:
    """The value under `key`, of type `kind`; where it is optional, None too."""
    value = metadata.get(key)
    if value is None and optional:
        return None
    if not isinstance(value, kind):
        what = f"its metadata has no {key!r}" if value is None else f"{key!r} in its metadata is {value!r}"
        raise InputError(what, where=path, fix=_REMEDY)
    return value


def _texts(metadata: Mapping[str, Any], key: str, path: Path) -> list[str]:
    found: list[str] = _entry(metadata, key, list, path)
    if not all(isinstance(text, str) for text in found):
        raise InputError(f"{key!r} in its metadata is {found!r}", where=path, fix=_REMEDY)
    return found


def _format(values: Any, path: Path) -> PlateFormat:
    if not isinstance(values, dict):
        raise InputError(f"a format in its metadata is {values!r}", where=path, fix=_REMEDY)
    templates = _texts(values, "templates", path)
    if not all(templates) or not templates:
        raise InputError("a format in its metadata has no template", where=path, fix=_REMEDY)
    name, layout = _entry(values, "name", str, path), _entry(values, "layout", str, path)
    prior = float(_entry(values, "prior", (int, float), path))
    common = read_common(values.get("common"), templates, path)
    return PlateFormat(name, tuple(templates), layout, prior, common)

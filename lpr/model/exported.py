"""Checkpoints exported to ONNX, in float32 or with convolutions of 8 bits, which ONNX Runtime reads on the CPU.

The file's metadata is that of the checkpoint (alphabet, input size, formats, calibration, see `checkpoint`), so that it
is read without any other file, and by other programs too: the input `images` is uint8 (B, C, H, W) as
`data.images.preprocess` makes it, the output `log_probs` float32 (B, T, C).
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import Config
from ..files import write_bytes
from ..formats import PlateFormat
from ..types import InputError
from .checkpoint import Checkpoint, described, recalibrated
from .inference import folded

if TYPE_CHECKING:
    from onnx import ModelProto

SUFFIX = ".onnx"
IMAGES, LOG_PROBS = "images", "log_probs"
_REMEDY = "export it with python -m lpr.export, or copy the file again"

#: Pictures that ranges are measured on at once.
_BATCH = 32


class OnnxNetwork:
    """An exported network; like `Recogniser` to what reads with it. `steps` is T."""

    temporal = None
    device = torch.device("cpu")

    def __init__(self, graph: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that spin while they wait would slow down those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.picture: tuple[int, ...] = tuple(self._session.get_inputs()[0].shape[1:])  # (C, H, W)
        self.steps, self.classes = self._session.get_outputs()[0].shape[1:]

    def together(self, images: Tensor, tracks: Tensor) -> tuple[Tensor, Tensor]:
        """Twice the log-posteriors float32 (B, T, C) of pictures uint8 (B, C, H, W), see `Recogniser.together`."""
        found = torch.from_numpy(self._session.run([LOG_PROBS], {IMAGES: images.contiguous().numpy()})[0])
        return found, found


def to_onnx(checkpoint: Checkpoint[Any]) -> ModelProto:
    """The network of a checkpoint as an ONNX graph that takes any number of pictures.

    InputError for one whose frames look at each other, and where this torch cannot export it.
    """
    if checkpoint.model.temporal is not None:
        raise InputError(
            "its frames look at each other (model.temporal), which is not exported",
            where=checkpoint.path,
            fix="export a network without",
        )
    model = folded(checkpoint.model).cpu().to(memory_format=torch.contiguous_format)
    size = checkpoint.config.input
    example = torch.zeros(2, size.channels, size.height, size.width, dtype=torch.uint8)
    try:
        with warnings.catch_warnings():
            # Of the exporter's own ways, which change from version to version.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                input_names=[IMAGES],
                output_names=[LOG_PROBS],
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise InputError(
            f"torch {torch.__version__} cannot export it: {str(error).splitlines()[0]}",
            where=checkpoint.path,
            fix="torch 2.9 and onnxscript 0.6, or newer ones, export what is shipped",
        ) from error
    proto: ModelProto = program.model_proto  # type: ignore[union-attr]
    return proto


def to_int8(proto: ModelProto, pictures: NDArray[np.uint8]) -> ModelProto:
    """The same graph, convolutions and products with weights in 8 bits, weights by channel; values keep the ranges that
    `pictures` give them.

    pictures: uint8 (N, C, H, W), some hundred like those to be read. The spatial transformer stays as it is, since a
    shift of a fraction of a pixel matters.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Pictures:
        def __init__(self) -> None:
            self.starts = iter(range(0, len(pictures), _BATCH))

        def get_next(self) -> dict[str, Any] | None:
            start = next(self.starts, None)
            return None if start is None else {IMAGES: pictures[start : start + _BATCH]}

    with TemporaryDirectory() as folder:
        whole, plain, small = (Path(folder) / f"{name}.onnx" for name in ("whole", "plain", "int8"))
        onnx.save(proto, whole)
        quant_pre_process(whole, plain, skip_symbolic_shape=True)
        nodes = list(onnx.load(plain).graph.node)
        sampled = [at for at, node in enumerate(nodes) if node.op_type == "GridSample"]
        quantization.quantize_static(
            plain,
            small,
            Pictures(),
            per_channel=True,
            # Weights of 7 bits: with 8, sums of two products overflow 16 bits on CPUs without VNNI.
            reduce_range=True,
            op_types_to_quantize=["Conv", "MatMul"],
            # Of products only those with weights: queries with keys are none.
            extra_options={"MatMulConstBOnly": True},
            nodes_to_exclude=[node.name for node in nodes[: sampled[0] if sampled else 0]],
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )
        return onnx.load(small)


def save(path: Path, proto: ModelProto, metadata: Mapping[str, Any]) -> None:
    """Write a graph with the metadata of its checkpoint, atomically; the hash becomes that of the graph.

    `exported_from` is the hash of the checkpoint.
    """
    own = {"exported_from": metadata["hash"], **metadata, "hash": graph_hash(proto)}
    proto.ClearField("metadata_props")
    entry = proto.metadata_props.add()
    entry.key, entry.value = "lpr", json.dumps(own, ensure_ascii=False, allow_nan=False)
    write_bytes(path, proto.SerializeToString())


def graph_hash(proto: ModelProto) -> str:
    """sha256, 64 hex digits, over operations and weights: names, types, shapes and bytes, in their order."""
    import onnx

    digest = hashlib.sha256()
    for node in proto.graph.node:
        digest.update(f"{node.op_type} {' '.join(node.input)} > {' '.join(node.output)}\n".encode())
    for tensor in proto.graph.initializer:
        digest.update(f"{tensor.name} {tensor.data_type} {tuple(tensor.dims)}\n".encode())
        digest.update(onnx.numpy_helper.to_array(tensor).tobytes())
    return digest.hexdigest()


def load(path: Path) -> Checkpoint[OnnxNetwork]:
    """Load an exported checkpoint; InputError for a file that is damaged, altered or none of ours."""
    proto, metadata = _read(path)

    def build(config: Config, formats: Sequence[PlateFormat]) -> OnnxNetwork:
        try:
            network = OnnxNetwork(proto.SerializeToString())
        # Its errors have no class in common but this one.
        except Exception as error:
            what = f"ONNX Runtime cannot read it: {str(error).splitlines()[0]}"
            raise InputError(what, where=path, fix=_REMEDY) from error
        size = config.input
        wanted = (size.channels, size.height, size.width), len(config.model.alphabet) + 1
        if (network.picture, network.classes) != wanted:
            raise InputError("its network does not fit its metadata", where=path, fix=_REMEDY)
        return network

    return described(metadata, path, build)


def recalibrate(
    path: Path, calibration: Mapping[str, Any], read: Mapping[str, Any], formats: Sequence[PlateFormat], target: Path
) -> None:
    """`checkpoint.recalibrate` for exported ones."""
    proto, metadata = _read(path)
    save(target, proto, recalibrated(metadata, calibration, read, formats))


def _read(path: Path) -> tuple[ModelProto, dict[str, Any]]:
    """The graph, as it was saved, and our metadata of an ONNX file."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    except DecodeError as error:
        raise InputError(f"is cut short or no ONNX file: {error}", where=path, fix=_REMEDY) from error
    texts = [entry.value for entry in proto.metadata_props if entry.key == "lpr"]
    try:
        metadata = json.loads(texts[0]) if texts else None
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        what = "is an ONNX file, but none that lpr.export wrote (no alphabet, no config)"
        raise InputError(what, where=path, fix=_REMEDY)
    if graph_hash(proto) != metadata.get("hash"):
        raise InputError("its network was altered or damaged after it was saved", where=path, fix=_REMEDY)
    return proto, metadata

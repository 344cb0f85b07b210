"""Writes a detector of one linear layer as an ONNX file, without the package onnx: protocol buffers by hand."""

from __future__ import annotations

import numpy as np

_FLOAT, _INT64 = 1, 7


def detector_file(weights: np.ndarray, bias: np.ndarray, output_shape: tuple[int, ...], size: tuple[int, int]) -> bytes:
    """A network whose output is `mean colour @ weights + bias`.

    Args:
        weights: (3, K) for the means of the three channels of the input.
        bias: (K,).
        output_shape: Shape of the output, K values.
        size: (height, width) of the input.
    """
    nodes = [
        _node("GlobalAveragePool", ["images"], "pooled"),
        _node("Flatten", ["pooled"], "means"),
        _node("Gemm", ["means", "weights", "bias"], "flat"),
        _node("Reshape", ["flat", "shape"], "output"),
    ]
    tensors = [
        _tensor("weights", weights.astype("<f4"), _FLOAT),
        _tensor("bias", bias.astype("<f4"), _FLOAT),
        _tensor("shape", np.array(output_shape, "<i8"), _INT64),
    ]
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, b"detector")
    graph += b"".join(_bytes(5, tensor) for tensor in tensors)
    graph += _bytes(11, _value("images", (1, 3, *size))) + _bytes(12, _value("output", output_shape))
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, 13))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _node(kind: str, inputs: list[str], output: str) -> bytes:
    names = b"".join(_bytes(1, name.encode()) for name in inputs)
    return names + _bytes(2, output.encode()) + _bytes(3, output.encode()) + _bytes(4, kind.encode())


def _tensor(name: str, values: np.ndarray, kind: int) -> bytes:
    dims = b"".join(_number(1, size) for size in values.shape)
    return dims + _number(2, kind) + _bytes(8, name.encode()) + _bytes(9, values.tobytes())


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, size)) for size in shape)
    tensor_type = _number(1, _FLOAT) + _bytes(2, dims)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor_type))

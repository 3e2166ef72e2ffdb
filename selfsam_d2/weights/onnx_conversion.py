"""MobileSAM state dict from the two ONNX graphs (encoder, prompt encoder + decoder) of MobileSAM.

An export to ONNX keeps most parameters under their PyTorch names and hides the others: linear
weights are transposed and anonymous, batch norms are folded into the convolution before them, and
attention biases are expanded into a table. Each function here undoes one of these.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from selfsam_d2.errors import InputError

__all__ = [
    "OnnxGraph",
    "attention_bias_table",
    "decoder_state",
    "encoder_state",
    "relative_offsets",
]

# The default eps of torch.nn.BatchNorm2d, which TinyViT uses. A folded norm has the variance
# 1 - eps, so that its scale 1 / sqrt(variance + eps) is 1.
BATCH_NORM_EPS = 1e-5
TOKEN_COUNT = 5
DECODER_PREFIX = "model."
# Modules of SAM's decoder file, which its graph names without the part that they belong to.
PART_OF_MODULE = {
    "mask_downscaling": "prompt_encoder",
    "output_upscaling": "mask_decoder",
}

Array = NDArray[Any]


class OnnxGraph:
    """Named look-up of the nodes and stored arrays of one ONNX graph.

    Args:
        content: the bytes of an ``.onnx`` file that holds its own data.
        source: where the bytes come from, for messages.

    Raises:
        InputError: the bytes are not an ONNX model.
    """

    def __init__(self, content: bytes, source: str | Path) -> None:
        self.source = source
        try:
            graph = onnx.load_model_from_string(content).graph
        except Exception as error:  # protobuf implementations differ in what they raise
            raise InputError(source, f"is not a readable ONNX model ({error})") from error
        self.nodes: Sequence[Any] = graph.node
        self.arrays: dict[str, Array] = {
            item.name: numpy_helper.to_array(item) for item in graph.initializer
        }

    def of_type(self, operation: str) -> Iterator[Any]:
        """Nodes of one operator type, in graph order."""
        return (node for node in self.nodes if node.op_type == operation)

    def stored_inputs(self, node: Any) -> list[str]:
        """Those inputs of a node that are stored arrays, in the node's order."""
        return [name for name in node.input if name in self.arrays]

    def failure(self, problem: str) -> InputError:
        """An error about this graph, with the remedy."""
        return InputError(self.source, f"{problem}; it is not a MobileSAM export as expected")


def module_path(node_name: str) -> str:
    """PyTorch path of the module that a node belongs to.

    A child of a ``Sequential`` appears as ``parent/parent.0``: the parent is then dropped.

    >>> module_path("/patch_embed/seq/seq.0/c/Conv")
    'patch_embed.seq.0.c'
    """
    parts = node_name.strip("/").split("/")
    # The last part is the node's own name, which is what follows the innermost module.
    pairs = itertools.pairwise(parts)
    return ".".join(part for part, after in pairs if not after.startswith(f"{part}."))


def linear_weights(graph: OnnxGraph) -> dict[str, Array]:
    """Weights of the linear layers, (out, in), named after the bias that is added next.

    A graph computes ``x @ W.T + bias`` as MatMul with an anonymous (in, out) array followed by
    Add with the bias under its PyTorch name.
    """
    bias_of = {
        name: bias
        for node in graph.of_type("Add")
        for bias in graph.stored_inputs(node)
        if bias.endswith(".bias")
        for name in node.input
    }
    weights = {}
    for node in graph.of_type("MatMul"):
        stored = graph.stored_inputs(node)
        if stored and stored[0].startswith("onnx::"):
            bias = bias_of.get(node.output[0])
            if bias is None:
                raise graph.failure(f"the product {node.name} has no named bias")
            weights[f"{bias.removesuffix('.bias')}.weight"] = graph.arrays[stored[0]].T
    return weights


def folded_convolutions(graph: OnnxGraph) -> dict[str, Array]:
    """Convolutions with a folded batch norm, as a bare convolution and a norm that only shifts.

    .. math:: y = w * x + b = \\frac{(w * x) - 0}{\\sqrt{(1 - \\epsilon) + \\epsilon}} \\cdot 1 + b
    """
    state: dict[str, Array] = {}
    for node in graph.of_type("Conv"):
        stored = graph.stored_inputs(node)
        if not stored[0].startswith("onnx::"):
            continue
        path = module_path(node.name)
        # MobileSAM's Conv2d_BN has the children c and bn.
        block = path.removesuffix(".c")
        if block == path or len(stored) != 2:
            raise graph.failure(f"the convolution {node.name} has no folded batch norm")
        weight, bias = (graph.arrays[name] for name in stored)
        state[f"{block}.c.weight"] = weight
        state[f"{block}.bn.weight"] = np.ones_like(bias)
        state[f"{block}.bn.bias"] = bias
        state[f"{block}.bn.running_mean"] = np.zeros_like(bias)
        state[f"{block}.bn.running_var"] = np.full_like(bias, 1.0 - BATCH_NORM_EPS)
        state[f"{block}.bn.num_batches_tracked"] = np.zeros((), dtype=np.int64)
    return state


def channel_norms(graph: OnnxGraph) -> dict[str, Array]:
    """Scale (C,) and shift (C,) of each LayerNorm2d, which a graph holds as (C, 1, 1) arrays."""
    state: dict[str, Array] = {}
    for operation, suffix in (("Mul", "weight"), ("Add", "bias")):
        for node in graph.of_type(operation):
            for name in graph.stored_inputs(node):
                array = graph.arrays[name]
                if name.startswith("onnx::") and array.ndim == 3 and array.shape[1:] == (1, 1):
                    state[f"{module_path(node.name)}.{suffix}"] = array.reshape(-1)
    return state


def relative_offsets(side: int) -> NDArray[np.int64]:
    """Index (N, N) of the bias that each pair of window positions shares, N = side².

    Two pairs share a bias when their absolute distances in rows and in columns are equal. Biases
    are numbered by the first pair that uses them, so row 0, which holds each offset once, counts
    0, 1, …, N - 1 (TinyViT, Wu et al. 2022, as LeViT).

    Args:
        side: window side in tokens.
    """
    rows, columns = np.divmod(np.arange(side * side), side)
    row_distance = np.abs(rows[:, None] - rows[None, :])
    column_distance = np.abs(columns[:, None] - columns[None, :])
    return np.asarray(row_distance * side + column_distance, dtype=np.int64)


def attention_bias_table(graph: OnnxGraph) -> dict[str, Array]:
    """Attention biases (heads, N) from the expanded tables (heads, N, N) in the graph.

    Raises:
        InputError: a table does not repeat its first row as :func:`relative_offsets` says.
    """
    state: dict[str, Array] = {}
    for node in graph.of_type("Constant"):
        path, is_attention = module_path(node.name), "/attn/Constant" in node.name
        value = next((item.t for item in node.attribute if item.name == "value"), None)
        if not is_attention or value is None or len(value.dims) != 3:
            continue
        table = numpy_helper.to_array(value)
        biases = table[:, 0, :]
        side = round(float(table.shape[-1]) ** 0.5)
        if not np.array_equal(biases[:, relative_offsets(side)], table):
            raise graph.failure(f"the attention biases of {path} do not depend on distance alone")
        state[f"{path}.attention_biases"] = biases
    return state


def named_parameters(graph: OnnxGraph) -> dict[str, Array]:
    """Arrays that the graph holds under their PyTorch name."""
    return {
        name.removeprefix(DECODER_PREFIX): array
        for name, array in graph.arrays.items()
        if not name.startswith("onnx::") and array.dtype == np.float32
    }


def prompt_tokens(graph: OnnxGraph) -> dict[str, Array]:
    """Output tokens and the embedding of "no mask", which are anonymous in the graph.

    The tokens are one (1, 5, 256) array, repeated for each prompt: the IoU token, then four mask
    tokens. The embedding of "no mask" is the one (1, 256, 1, 1) factor.
    """
    tokens = [
        graph.arrays[name]
        for node in graph.of_type("Expand")
        for name in graph.stored_inputs(node)
        if graph.arrays[name].ndim == 3 and graph.arrays[name].shape[1] == TOKEN_COUNT
    ]
    no_mask = [
        graph.arrays[name]
        for node in graph.of_type("Mul")
        for name in graph.stored_inputs(node)
        if graph.arrays[name].ndim == 4
    ]
    if len(tokens) != 1 or len(no_mask) != 1:
        raise graph.failure("the output tokens or the no-mask embedding are missing")
    return {
        "mask_decoder.iou_token.weight": tokens[0][0, :1],
        "mask_decoder.mask_tokens.weight": tokens[0][0, 1:],
        "prompt_encoder.no_mask_embed.weight": no_mask[0].reshape(1, -1),
    }


def as_tensors(state: dict[str, Array]) -> dict[str, Tensor]:
    """Contiguous tensors of their own memory, sorted by key."""
    return {key: torch.from_numpy(np.array(state[key], order="C")) for key in sorted(state)}


def encoder_state(graph: OnnxGraph) -> dict[str, Tensor]:
    """Parameters of MobileSAM's image encoder, keys as in its checkpoint.

    Args:
        graph: image (B, 3, 1024, 1024) → embedding (B, 256, 64, 64).

    Returns:
        ``image_encoder.…`` → tensor. The classifier of the checkpoint (``norm_head``, ``head``)
        takes no part in the encoding and is not in the graph.
    """
    found = [
        named_parameters(graph),
        linear_weights(graph),
        folded_convolutions(graph),
        channel_norms(graph),
        attention_bias_table(graph),
    ]
    merged = {key: array for part in found for key, array in part.items()}
    return as_tensors({f"image_encoder.{key}": array for key, array in merged.items()})


def decoder_state(graph: OnnxGraph) -> dict[str, Tensor]:
    """Parameters of SAM's prompt encoder and mask decoder, keys as in its checkpoint.

    Args:
        graph: embedding and points → masks.

    Returns:
        ``prompt_encoder.…`` and ``mask_decoder.…`` → float32 tensor.
    """
    norms = {}
    for key, array in channel_norms(graph).items():
        module = key.split(".")[0]
        if module not in PART_OF_MODULE:
            raise graph.failure(f"the norm {key} belongs to no known module")
        norms[f"{PART_OF_MODULE[module]}.{key}"] = array
    found = [named_parameters(graph), linear_weights(graph), norms, prompt_tokens(graph)]
    return as_tensors({key: array for part in found for key, array in part.items()})

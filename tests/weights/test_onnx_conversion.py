from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from selfsam_d2.errors import InputError
from selfsam_d2.weights.onnx_conversion import (
    OnnxGraph,
    decoder_state,
    encoder_state,
    module_path,
    relative_offsets,
)

SIDE = 3
HEADS = 2
WIDTH = 4


def graph_bytes(nodes: list[Any], arrays: dict[str, np.ndarray]) -> bytes:
    stored = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    flow = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("in", "out")]
    graph = helper.make_graph(nodes, "tiny", flow[:1], flow[1:], initializer=stored)
    return helper.make_model(graph).SerializeToString()


def node(operation: str, name: str, *inputs: str) -> Any:
    return helper.make_node(operation, list(inputs), [f"{name}_output_0"], name=name)


def constant(name: str, value: np.ndarray) -> Any:
    return helper.make_node("Constant", [], [name], name=name, value=numpy_helper.from_array(value))


def slow_offsets(side: int) -> list[list[int]]:
    """Number the distances in the order in which a loop over all pairs meets them."""
    points = list(itertools.product(range(side), range(side)))
    number: dict[tuple[int, int], int] = {}
    rows = []
    for first in points:
        row = []
        for second in points:
            offset = (abs(first[0] - second[0]), abs(first[1] - second[1]))
            row.append(number.setdefault(offset, len(number)))
        rows.append(row)
    return rows


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = convolution.weight * scale[:, None, None, None]
    bias = norm.bias - norm.running_mean * scale
    return weight.detach().numpy(), bias.detach().numpy()


def tiny_encoder(seed: int = 0) -> tuple[list[Any], dict[str, np.ndarray], dict[str, Any]]:
    """Nodes and arrays of an encoder with one layer of each kind, and the modules behind them."""
    torch.manual_seed(seed)
    convolution, norm = nn.Conv2d(3, WIDTH, 3, bias=False), nn.BatchNorm2d(WIDTH).eval()
    for parameter in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(parameter)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    linear = nn.Linear(WIDTH, 3 * WIDTH)
    biases = torch.randn(HEADS, SIDE * SIDE)
    weight, bias = folded(convolution, norm)
    attention = "/layers.1/blocks.0/attn"
    nodes = [
        node("Conv", "/patch_embed/seq/seq.0/c/Conv", "in", "onnx::Conv_1", "onnx::Conv_2"),
        node("MatMul", f"{attention}/qkv/MatMul", "in", "onnx::MatMul_3"),
        node(
            "Add",
            f"{attention}/qkv/Add",
            "layers.1.blocks.0.attn.qkv.bias",
            f"{attention}/qkv/MatMul_output_0",
        ),
        constant(f"{attention}/Constant_4", np.float32(0.5)),
        constant(f"{attention}/Constant_5", biases[:, slow_offsets(SIDE)].numpy()),
        node("Conv", "/neck/neck.0/Conv", "in", "neck.0.weight"),
        node("Mul", "/neck/neck.1/Mul", "onnx::Mul_5", "in"),
        node("Add", "/neck/neck.1/Add_1", "in", "onnx::Add_6"),
    ]
    arrays = {
        "onnx::Conv_1": weight,
        "onnx::Conv_2": bias,
        "onnx::MatMul_3": linear.weight.detach().numpy().T.copy(),
        "layers.1.blocks.0.attn.qkv.bias": linear.bias.detach().numpy(),
        "neck.0.weight": np.random.default_rng(seed).normal(size=(5, 4, 1, 1)).astype(np.float32),
        "onnx::Mul_5": np.arange(5, dtype=np.float32).reshape(5, 1, 1),
        "onnx::Add_6": -np.arange(5, dtype=np.float32).reshape(5, 1, 1),
    }
    return (
        nodes,
        arrays,
        {"block": nn.Sequential(convolution, norm), "linear": linear, "biases": biases},
    )


def tiny_decoder() -> tuple[list[Any], dict[str, np.ndarray]]:
    """Nodes and arrays of a decoder with one layer of each kind."""
    random = np.random.default_rng(1)
    arrays = {
        "model.prompt_encoder.point_embeddings.0.weight": random.normal(size=(1, 6)),
        "mask_decoder.transformer.layers.0.mlp.lin1.bias": random.normal(size=(3,)),
        "onnx::MatMul_1": random.normal(size=(6, 3)),
        "onnx::Mul_2": random.normal(size=(4, 1, 1)),
        "onnx::Add_3": random.normal(size=(4, 1, 1)),
        "onnx::Mul_4": random.normal(size=(7, 1, 1)),
        "onnx::Mul_5": random.normal(size=(1, 6, 1, 1)),
        "onnx::Expand_6": random.normal(size=(1, 5, 6)),
    }
    down, up = "/mask_downscaling/mask_downscaling.1", "/output_upscaling/output_upscaling.1"
    linear = "/transformer/layers.0/mlp/lin1"
    nodes = [
        node("Mul", f"{down}/Mul", "onnx::Mul_2", "in"),
        node("Add", f"{down}/Add_1", "in", "onnx::Add_3"),
        node("Mul", f"{up}/Mul", "onnx::Mul_4", "in"),
        node("Mul", "/Mul_9", "in", "onnx::Mul_5"),
        node("Expand", "/Expand_1", "onnx::Expand_6", "in"),
        node("MatMul", f"{linear}/MatMul", "in", "onnx::MatMul_1"),
        node(
            "Add",
            f"{linear}/Add",
            "mask_decoder.transformer.layers.0.mlp.lin1.bias",
            f"{linear}/MatMul_output_0",
        ),
    ]
    return nodes, {name: value.astype(np.float32) for name, value in arrays.items()}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/patch_embed/seq/seq.2/c/Conv", "patch_embed.seq.2.c"),
        ("/layers.0/blocks.1/conv3/c/Conv", "layers.0.blocks.1.conv3.c"),
        ("/neck/neck.1/Mul", "neck.1"),
        ("/Mul_9", ""),
    ],
)
def test_module_path(name: str, path: str) -> None:
    assert module_path(name) == path


@pytest.mark.parametrize("side", [1, 2, 7, 14])
def test_offsets_number_distances_as_a_loop_over_pairs_does(side: int) -> None:
    assert relative_offsets(side).tolist() == slow_offsets(side)


def test_an_encoder_gets_its_names_and_values_back() -> None:
    nodes, arrays, modules = tiny_encoder()
    state = encoder_state(OnnxGraph(graph_bytes(nodes, arrays), "tiny"))
    assert list(state) == sorted(state)
    assert set(state) == {
        *(
            f"image_encoder.patch_embed.seq.0.bn.{name}"
            for name in modules["block"][1].state_dict()
        ),
        "image_encoder.patch_embed.seq.0.c.weight",
        "image_encoder.layers.1.blocks.0.attn.qkv.weight",
        "image_encoder.layers.1.blocks.0.attn.qkv.bias",
        "image_encoder.layers.1.blocks.0.attn.attention_biases",
        "image_encoder.neck.0.weight",
        "image_encoder.neck.1.weight",
        "image_encoder.neck.1.bias",
    }
    attention = "image_encoder.layers.1.blocks.0.attn"
    assert torch.equal(state[f"{attention}.qkv.weight"], modules["linear"].weight)
    assert torch.equal(state[f"{attention}.attention_biases"], modules["biases"])
    assert torch.equal(state["image_encoder.neck.1.weight"], torch.arange(5.0))
    assert torch.equal(state["image_encoder.neck.1.bias"], -torch.arange(5.0))
    assert all(value.is_contiguous() for value in state.values())


def test_an_unfolded_batch_norm_computes_the_same_in_eval_mode() -> None:
    nodes, arrays, modules = tiny_encoder()
    state = encoder_state(OnnxGraph(graph_bytes(nodes, arrays), "tiny"))
    restored = nn.Sequential(nn.Conv2d(3, WIDTH, 3, bias=False), nn.BatchNorm2d(WIDTH)).eval()
    prefix = "image_encoder.patch_embed.seq.0."
    renamed = {
        key.removeprefix(prefix).replace("c.", "0.", 1).replace("bn.", "1.", 1): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
    restored.load_state_dict(renamed, strict=True)
    assert torch.all(restored[1].running_var + restored[1].eps == 1.0)
    images = torch.randn(2, 3, 8, 8)
    assert torch.allclose(restored(images), modules["block"](images), atol=1e-5)


def test_a_decoder_gets_its_names_and_values_back() -> None:
    nodes, arrays = tiny_decoder()
    state = decoder_state(OnnxGraph(graph_bytes(nodes, arrays), "tiny"))
    tokens = torch.from_numpy(arrays["onnx::Expand_6"])[0]
    expected = {
        "prompt_encoder.point_embeddings.0.weight": arrays[
            "model.prompt_encoder.point_embeddings.0.weight"
        ],
        "prompt_encoder.mask_downscaling.1.weight": arrays["onnx::Mul_2"].ravel(),
        "prompt_encoder.mask_downscaling.1.bias": arrays["onnx::Add_3"].ravel(),
        "prompt_encoder.no_mask_embed.weight": arrays["onnx::Mul_5"].reshape(1, 6),
        "mask_decoder.output_upscaling.1.weight": arrays["onnx::Mul_4"].ravel(),
        "mask_decoder.iou_token.weight": tokens[:1].numpy(),
        "mask_decoder.mask_tokens.weight": tokens[1:].numpy(),
        "mask_decoder.transformer.layers.0.mlp.lin1.weight": arrays["onnx::MatMul_1"].T,
        "mask_decoder.transformer.layers.0.mlp.lin1.bias": arrays[
            "mask_decoder.transformer.layers.0.mlp.lin1.bias"
        ],
    }
    assert set(state) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(state[key].numpy(), value)


def test_attention_biases_that_no_distance_explains_are_refused() -> None:
    nodes, arrays, _ = tiny_encoder()
    table = np.random.default_rng(0).normal(size=(HEADS, 9, 9)).astype(np.float32)
    nodes[4] = constant("/layers.1/blocks.0/attn/Constant_5", table)
    with pytest.raises(InputError, match=r"tiny: the attention biases of layers\.1\.blocks\.0"):
        encoder_state(OnnxGraph(graph_bytes(nodes, arrays), "tiny"))


@pytest.mark.parametrize(
    ("index", "replacement", "problem"),
    [
        (0, node("Conv", "/x/Conv", "in", "onnx::Conv_1", "onnx::Conv_2"), "no folded batch norm"),
        (2, node("Relu", "/x/Relu", "in"), "no named bias"),
    ],
)
def test_an_unexpected_encoder_is_refused(index: int, replacement: Any, problem: str) -> None:
    nodes, arrays, _ = tiny_encoder()
    nodes[index] = replacement
    with pytest.raises(InputError, match=problem):
        encoder_state(OnnxGraph(graph_bytes(nodes, arrays), "tiny"))


@pytest.mark.parametrize(
    ("index", "replacement", "problem"),
    [
        (4, node("Relu", "/x/Relu", "in"), "output tokens"),
        (3, node("Relu", "/x/Relu", "in"), "no-mask embedding"),
        (0, node("Mul", "/other/other.1/Mul", "onnx::Mul_2", "in"), "no known module"),
    ],
)
def test_an_unexpected_decoder_is_refused(index: int, replacement: Any, problem: str) -> None:
    nodes, arrays = tiny_decoder()
    nodes[index] = replacement
    with pytest.raises(InputError, match=problem):
        decoder_state(OnnxGraph(graph_bytes(nodes, arrays), "tiny"))


def test_bytes_that_are_no_graph_are_named() -> None:
    with pytest.raises(InputError, match="broken: is not a readable ONNX model"):
        OnnxGraph(b"not a graph", "broken")

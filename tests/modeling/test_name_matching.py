"""Weights of a network for ImageNet in a model of ours, by the ends of their names."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer
from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.weights import load_checkpoint
from selfsam_d2.prediction.predictor import NucleiPredictor
from selfsam_d2.weights.pickled import read_pickled_weights

CONFIGS = Path(__file__).parents[2] / "configs"
R50 = str(CONFIGS / "nuclei_head_R50_fpn.yaml")
SELFSAM = str(CONFIGS / "demo.yaml")
SMALL = ("MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64")
NETWORK = "backbone.bottom_up."
# Caffe2's names of the first layer and of a batch norm -> those of Detectron2.
CAFFE2 = {
    "conv1_w": "stem.conv1.weight",
    "res_conv1_bn_s": "stem.conv1.norm.weight",
    "res_conv1_bn_b": "stem.conv1.norm.bias",
    "res3_0_branch2a_w": "res3.0.conv1.weight",
    "res3_0_branch1_bn_s": "res3.0.shortcut.norm.weight",
}


@pytest.fixture
def model():
    return build_model(load_config(R50, [*SMALL, "MODEL.RESNETS.NORM", "FrozenBN"]))


@pytest.fixture
def zoo_file(tmp_path):
    """Function: content -> the checkpoint that a pickle of it becomes."""

    def checkpoint(content):
        path = tmp_path / "zoo.pkl"
        path.write_bytes(pickle.dumps(content, protocol=2))
        return read_pickled_weights(path)

    return checkpoint


def values_for(model):
    """Other values for its ResNet, under the names that the ResNet itself has."""
    random = np.random.default_rng(0)
    return {
        key.removeprefix(NETWORK): random.random(value.shape, dtype=np.float32)
        for key, value in model.state_dict().items()
        if key.startswith(NETWORK)
    }


def test_a_network_fills_the_backbone_and_nothing_else(model, zoo_file, tmp_path):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wanted = values_for(model)
    state = {**wanted, "fc.weight": np.ones((10, 512), np.float32)}
    content = {"model": state, "__author__": "torchvision", "matching_heuristics": True}
    torch.save(zoo_file(content), tmp_path / "r18.pth")
    rest = SelfSAMCheckpointer(model).load(str(tmp_path / "r18.pth"))
    assert rest == {"__author__": "torchvision", "matching_heuristics": True}
    assert len(wanted) > 90
    for key, value in model.state_dict().items():
        expected = wanted.get(key.removeprefix(NETWORK)) if key.startswith(NETWORK) else before[key]
        np.testing.assert_array_equal(value.numpy(), expected)


@pytest.mark.parametrize(
    "content",
    [
        lambda values: {"model": values, "__author__": "x", "matching_heuristics": True},
        lambda values: {"model": values, "__author__": "x", "matching_heuristics": 1},
        lambda values: {name: values[key] for name, key in CAFFE2.items()},
        lambda values: {
            "blobs": {**{name: values[key] for name, key in CAFFE2.items()}, "pred_w": values["a"]}
        },
    ],
)
def test_detectron2_itself_fills_the_same(model, zoo_file, tmp_path, content):
    values = {**values_for(model), "a": np.ones((2, 3), np.float32)}
    other = copy.deepcopy(model)
    torch.save(zoo_file(content(values)), tmp_path / "zoo.pth")
    SelfSAMCheckpointer(model).load(str(tmp_path / "zoo.pth"))
    DetectionCheckpointer(other).load(str(tmp_path / "zoo.pkl"))
    expected = other.state_dict()
    assert {*expected} == {*model.state_dict()}
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_names_of_caffe2_are_translated(model, zoo_file):
    values = values_for(model)
    given = {name: values[key] for name, key in CAFFE2.items()}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    content = {"blobs": {**given, "pred_w": np.ones((2, 3), np.float32)}}
    report = load_checkpoint(model, zoo_file(content), "zoo.pkl")
    assert sorted(report.loaded) == sorted(NETWORK + key for key in CAFFE2.values())
    assert set(report.not_loaded) == {*before} - {*report.loaded}
    assert len(report.unused) == 1
    for key, value in model.state_dict().items():
        filled = key in report.loaded
        expected = values[key.removeprefix(NETWORK)] if filled else before[key].numpy()
        # FrozenBatchNorm2d sets a variance that is in no file to 1, which was 1 - 1e-5 before.
        np.testing.assert_allclose(value.numpy(), expected, rtol=0 if filled else 2e-5)


def test_a_tensor_of_another_shape_stays_out(model, zoo_file):
    values = values_for(model)
    values["stem.conv1.weight"] = np.ones((64, 4, 7, 7), np.float32)
    content = {"model": values, "__author__": "x", "matching_heuristics": True}
    report = load_checkpoint(model, zoo_file(content), "zoo.pkl")
    assert NETWORK + "stem.conv1.weight" in report.not_loaded
    assert len(report.loaded) == len(values) - 1


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"x.weight": np.ones(2)}, "none of its tensors fits the model"),
        ({"stem.conv1.weight": np.ones(2)}, "none of its tensors fits the model"),
        ({NETWORK + "stem.conv1.weight": np.ones(2)}, "none of its tensors fits the model"),
        ({"lateral.norm.weight": np.ones(2), "norm.weight": np.ones(128)}, "cannot be matched"),
        ({"stem.conv1.norm.bias": np.full(64, np.nan)}, "NaN or infinite values"),
        ({"stem.conv1.norm.bias": np.full(64, 1e300)}, "NaN or infinite values"),
    ],
)
def test_what_does_not_fit_is_refused(model, zoo_file, state, message):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    content = {"model": state, "__author__": "x", "matching_heuristics": True}
    with pytest.raises(InputError, match=rf"^zoo\.pkl: .*{message}"):
        load_checkpoint(model, zoo_file(content), "zoo.pkl")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"cls_score_w": torch.ones(1).expand(10**6, 10**6)}, "'cls_score_w' is larger than what"),
        ({f"a{number}": torch.ones(1) for number in range(20_001)}, "more than 20000 tensors"),
        ({"a.b": torch.ones(1), "a_b": torch.ones(1)}, r"be matched with .* \(AssertionError\)"),
        ({"cls_score_w": torch.tensor(1.0)}, r"be matched with .* \(.+\)"),
    ],
)
def test_what_detectron2_would_fail_at_is_refused(model, state, message):
    checkpoint = {"model": state, "__author__": "Caffe2", "matching_heuristics": True}
    with pytest.raises(InputError, match=rf"^zoo\.pth: .*{message}"):
        load_checkpoint(model, checkpoint, "zoo.pth")


def test_whole_models_of_detectron2_must_fit_key_by_key(model, zoo_file):
    content = {"model": values_for(model), "__author__": "Detectron2 Model Zoo"}
    with pytest.raises(InputError, match="holds another architecture than the model"):
        load_checkpoint(model, zoo_file(content), "zoo.pkl")


def test_nuclei_are_not_predicted_by_another_network(model, zoo_file, tmp_path):
    content = {"model": values_for(model), "__author__": "x", "matching_heuristics": True}
    path = tmp_path / "r18.pth"
    torch.save(zoo_file(content), path)
    with pytest.raises(InputError, match=r"r18\.pth: are of another network"):
        NucleiPredictor(path, R50, overrides=SMALL)


def test_selfsam_has_no_use_for_another_network():
    model = build_model(load_config(SELFSAM, ["MODEL.DEVICE", "cpu"]))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    key = next(key for key in before if key.startswith("backbone.encoder.") and before[key].ndim)
    state = {key: torch.ones_like(before[key])}
    checkpoint = {"model": state, "__author__": "x", "matching_heuristics": True}
    with pytest.raises(InputError, match=r"^mae\.pth: are of another network, and SelfSAM makes"):
        load_checkpoint(model, checkpoint, "mae.pth")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

"""Each LazyConfig builds the model of the YAML of its name: keys, shapes, settings, outputs."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.modeling import build_model

from selfsam_d2.engine.epochs import enter_epoch
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.solver import build_optimizer

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = sorted(path.stem for path in (CONFIGS / "lazy").glob("*.py"))
# Alpha, consensus and reprompting in epochs 0, 5 and 9 of 10.
PAPERS = [(1, True, False), (0.5, True, False), (pytest.approx(0.1), True, False)]
EPOCHS = {
    "monuseg_vitb": PAPERS,
    "monuseg_vitl": PAPERS,
    "monuseg_vith": PAPERS,
    "monuseg_vitt": [(1, True, False), (1, True, True), (1, True, True)],
}
# Attributes of modules that torch itself keeps.
TORCH = set(vars(torch.nn.Module()))
SIMPLE = (bool, int, float, str, torch.dtype, type(None))


def from_yaml(name, device):
    cfg = load_config(str(CONFIGS / f"{name}.yaml"), ["MODEL.DEVICE", device])
    with torch.device(device):
        return build_model(cfg)


def from_lazy(name, device):
    with torch.device(device):
        return instantiate(LazyConfig.load(str(CONFIGS / "lazy" / f"{name}.py")).model)


def settings(value, path="model"):
    """What decides how an object behaves: (place, plain value) of all that it is made of."""
    if isinstance(value, SIMPLE):
        yield path, value
    elif isinstance(value, torch.Tensor):
        yield path, (tuple(value.shape), value.dtype)
    elif isinstance(value, type) or inspect.isroutine(value):
        yield path, value.__qualname__
    elif isinstance(value, (Mapping, Sequence)):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, each in pairs:
            yield from settings(each, f"{path}.{key}")
    else:
        yield path, type(value).__qualname__
        parts = {key: each for key, each in vars(value).items() if key not in TORCH}
        if isinstance(value, torch.nn.Module):
            parts |= dict(value.named_children())
        for key, each in parts.items():
            yield from settings(each, f"{path}.{key}")


def test_the_main_configs_have_twins():
    encoders = {f"monuseg_vit{size}" for size in "tblh"}
    assert encoders | {"mask_rcnn_sam_adapter_vitt_fpn"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_keys_shapes_and_settings_are_those_of_the_yaml(name):
    models = [build(name, "meta") for build in (from_yaml, from_lazy)]
    first, second = ({k: v.shape for k, v in m.state_dict().items()} for m in models)
    assert list(first) == list(second)
    assert first == second
    trained = [{k for k, v in m.named_parameters() if v.requires_grad} for m in models]
    assert trained[0] == trained[1] != set()
    first, second = (dict(settings(model)) for model in models)
    differing = {path for path in first | second if first.get(path, 0) != second.get(path, 0)}
    found = {path: (first.get(path), second.get(path)) for path in differing}
    # Detectron2 takes a weight that is not named for 1.
    found.pop("model.roi_heads.box_predictor.loss_weight.loss_cls", None)
    assert found == {}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("monuseg")])
def test_a_loop_of_ones_own_has_the_rates_and_epochs_of_the_yaml(name):
    cfg = load_config(str(CONFIGS / f"{name}.yaml"), ["MODEL.DEVICE", "meta"])
    models = [build(name, "meta") for build in (from_yaml, from_lazy)]
    groups = []
    for model in models:
        names = {each: key for key, each in model.named_parameters()}
        groups.append(
            [
                {**group, "params": [names[each] for each in group["params"]]}
                for group in build_optimizer(cfg, model).param_groups
            ]
        )
    assert groups[0] == groups[1]
    rates = {key: group["lr"] for group in groups[1] for key in group["params"]}
    factor = cfg.SOLVER.HEAD_LR_FACTOR
    assert rates["nuclei_head.output_tokens.weight"] == factor * cfg.SOLVER.BASE_LR
    lazy = models[1]
    assert (lazy.alpha, lazy.consensus, lazy.reprompts) == (1, True, False)
    seen = []
    for epoch in (0, 5, 9):
        enter_epoch(lazy, cfg, epoch, 10)
        seen.append((lazy.alpha, lazy.consensus, lazy.reprompts))
    assert seen == EPOCHS[name]


@pytest.mark.parametrize("name", [name for name in NAMES if "vitt" in name])
def test_outputs_are_those_of_the_yaml(name):
    torch.manual_seed(0)
    models = [build(name, "cpu").eval() for build in (from_yaml, from_lazy)]
    models[1].load_state_dict(models[0].state_dict())
    image = (torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(1)) * 255).byte()
    with torch.no_grad():
        first, second = (model([{"image": image}])[0] for model in models)
    assert set(first) == set(second)
    fields = [each["instances"].get_fields() for each in (first, second)]
    assert set(fields[0]) == set(fields[1])
    assert torch.equal(fields[0]["scores"], fields[1]["scores"])
    if "foreground" in first:
        assert torch.equal(first["foreground"], second["foreground"])
    else:
        assert len(fields[0]["scores"]) > 0
        assert torch.equal(fields[0]["pred_boxes"].tensor, fields[1]["pred_boxes"].tensor)
        assert torch.equal(fields[0]["pred_masks"], fields[1]["pred_masks"])

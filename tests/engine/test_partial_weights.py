"""Weights of another network: a training begins with them, nothing is scored by them."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.finished_run import FinishedRun, RunLog
from selfsam_d2.engine.mask_trainer import MaskTrainer
from selfsam_d2.engine.run_model import load_run_model
from selfsam_d2.engine.setup import argument_parser, load_config
from selfsam_d2.engine.training_run import train_or_evaluate
from selfsam_d2.errors import InputError

CONFIG = str(Path(__file__).parents[2] / "configs" / "nuclei_head_R50_fpn.yaml")
SMALL = (
    *("MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64"),
    *("INPUT.NUCLEI.CROP", "64", "MODEL.SAM.INPUT_SIDE", "64"),
    *("INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16", "MODEL.FPN.OUT_CHANNELS", "32"),
)
NETWORK = "backbone.bottom_up."


@pytest.fixture
def keys(dataset, tmp_path):
    """KEY VALUE pairs of a ResNet that begins with other weights, on images with masks."""
    name = f"partial_{tmp_path.parent.name}_{tmp_path.name}"
    register_nuclei_instances(name, dataset["val"].json_file, dataset["val"].image_root)
    datasets = ("DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", f"('{name}',)")
    model = build_model(load_config(CONFIG, [*SMALL]))
    state = {
        key.removeprefix(NETWORK): torch.full_like(value, 0.25)
        for key, value in model.state_dict().items()
        if key.startswith(NETWORK)
    }
    path = tmp_path / "r18.pth"
    torch.save({"model": state, "__author__": "x", "matching_heuristics": True}, path)
    return [*SMALL, *datasets, "MODEL.WEIGHTS", str(path), "OUTPUT_DIR", str(tmp_path / "run")]


def test_a_training_begins_with_them(keys):
    trainer = MaskTrainer(load_config(CONFIG, keys))
    trainer.resume_or_load(resume=False)
    state = trainer.model.state_dict()
    network = {key for key in state if key.startswith(NETWORK)}
    assert len(network) > 50
    assert {key for key in state if (state[key] == 0.25).all()} == network


def test_an_evaluation_refuses_them(keys, monkeypatch):
    for name in ("default_setup", "start_logs"):
        monkeypatch.setattr(f"selfsam_d2.engine.setup.{name}", lambda *_, **__: None)
    args = argument_parser().parse_args(["--eval-only", "--config-file", CONFIG, *keys])
    with pytest.raises(InputError, match=r"r18\.pth: are of another network"):
        train_or_evaluate(args)


def test_a_report_refuses_them(keys, tmp_path):
    run = FinishedRun(tmp_path, load_config(CONFIG, keys), (), RunLog())
    with pytest.raises(InputError, match=r"r18\.pth: are of another network"):
        load_run_model(run, str(tmp_path / "r18.pth"))

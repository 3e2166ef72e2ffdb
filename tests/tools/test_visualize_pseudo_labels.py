from __future__ import annotations

import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "demo.yaml"
TINY = ("MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "64", "SOLVER.MAX_ITER", "8")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_synthetic_dataset(folder, seed=0, train=2, val=1, size=64)["train"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of an untrained model, saved in epoch 2 of 4."""
    torch.manual_seed(0)
    model = SelfSAMTrainer.build_model(load_config(str(CONFIG), list(TINY)))
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    hooks = {"SelfRefineHook": {"epoch": 2, "statistics": {}}}
    state = {"model": model.state_dict(), "trainer": {"iteration": 5, "hooks": hooks}}
    torch.save(state, path)
    return path


def command_line(dataset, output, *arguments):
    register = ("synthetic_train", dataset.json_file, dataset.image_root)
    words = ("--config-file", CONFIG, "--register", *register, *arguments, "--output", output)
    return ["tools/visualize_pseudo_labels.py", *map(str, words)]


@pytest.fixture
def draw(dataset, monkeypatch, capfd):
    """Run the tool in this process, which spares its imports: (status, stderr)."""
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)

    def run(output, *arguments):
        monkeypatch.setattr(sys, "argv", command_line(dataset, output, *arguments))
        status = 0
        try:
            runpy.run_path(str(ROOT / sys.argv[0]), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, capfd.readouterr().err

    return run


def test_writes_a_picture_per_crop_and_names_it(dataset, checkpoint, tmp_path):
    words = command_line(dataset, tmp_path, "--weights", checkpoint, "--crops", "2", *TINY)
    done = subprocess.run(
        [sys.executable, *words],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert len(paths) == 2
    for path in paths:
        assert path.name.startswith("crop_0")
        picture = np.asarray(Image.open(path).convert("RGB"))
        assert picture.shape[1] > 1500
        assert picture.std() > 10


def test_alpha_comes_from_the_checkpoint_unless_given(draw, checkpoint, tmp_path):
    pictures = {}
    # Epoch 2 of 4: alpha = 1 - 2 / 4.
    for name, options in (
        ("saved", ()),
        ("same", ("--alpha", "0.5")),
        ("other", ("--alpha", "0.75")),
    ):
        arguments = ("--weights", checkpoint, "--crops", "1", *options, *TINY)
        status, complaints = draw(tmp_path / name, *arguments)
        assert status == 0, complaints
        pictures[name] = next((tmp_path / name).iterdir()).read_bytes()
    assert pictures["saved"] == pictures["same"]
    assert pictures["saved"] != pictures["other"]


def test_weights_that_tell_no_epoch_need_one(draw, checkpoint, tmp_path):
    plain = tmp_path / "plain.pth"
    torch.save({"model": torch.load(checkpoint, weights_only=True)["model"]}, plain)
    arguments = ("--weights", plain, "--crops", "1", *TINY)
    status, complaints = draw(tmp_path / "none", *arguments)
    assert (status, complaints.count("\n")) == (2, 1)
    assert "plain.pth: was trained, but does not say to which epoch" in complaints
    status, complaints = draw(tmp_path / "given", "--epoch", "2", "--alpha", "0.75", *arguments)
    assert status == 0, complaints
    arguments = ("--weights", checkpoint, "--crops", "1", "--alpha", "0.75", *TINY)
    status, complaints = draw(tmp_path / "saved", *arguments)
    assert status == 0, complaints


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--crops", "0"], "--crops 0"),
        (["--epoch", "9"], "--epoch 9: the training has 4 epochs, from 0"),
        (["--alpha", "1.5"], "--alpha 1.5"),
        (["--alpha", "much"], "--alpha"),
        (["--weights", "none.pth"], "none.pth"),
        (["MODEL.META_ARCHITECTURE", "RetinaNet"], "'RetinaNet': makes no labels from points"),
    ],
)
def test_bad_input_is_one_line(draw, tmp_path, arguments, expected):
    status, complaints = draw(tmp_path / "out", *arguments, *TINY)
    assert status == 2
    assert complaints.count("\n") == 1
    assert expected in complaints

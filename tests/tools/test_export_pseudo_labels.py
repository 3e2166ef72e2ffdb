"""tools/export_pseudo_labels.py as typed, its epoch, and a Mask R-CNN trained on what it wrote."""

from __future__ import annotations

import json
import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.modeling.trained_parts import pack_trained_parts
from selfsam_d2.modeling.weights import load_weights

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "demo.yaml"
MASK_RCNN = ROOT / "configs" / "mask_rcnn_sam_adapter_vitt_fpn.yaml"
TINY = (
    *("MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "64", "SOLVER.MAX_ITER", "8"),
    *("INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16"),
)


@pytest.fixture(scope="module", autouse=True)
def forget():
    """Other tests register their own datasets by these names."""
    yield
    for name in ("synthetic_train", "synthetic_train_pseudo"):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Points only."""
    folder = tmp_path_factory.mktemp("data")
    return write_synthetic_dataset(folder, seed=0, train=2, val=1, size=64)["train"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of MobileSAM with an untrained head, saved in epoch 2 of 4."""
    model = SelfSAMTrainer.build_model(load_config(str(CONFIG), list(TINY)))
    load_weights(model, "mobile_sam")
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    hooks = {"SelfRefineHook": {"epoch": 2, "statistics": {}}}
    torch.save({"model": model.state_dict(), "trainer": {"hooks": hooks}}, path)
    return path


@pytest.fixture
def export(dataset, monkeypatch, capfd):
    """Run the tool in this process, which spares its imports: (status, stdout, stderr)."""
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)

    def run(output, *arguments, config=CONFIG):
        register = ("--register", "synthetic_train", dataset.json_file, dataset.image_root)
        words = ("--config-file", config, *register, *arguments, "--output", output, *TINY)
        monkeypatch.setattr(sys, "argv", ["tools/export_pseudo_labels.py", *map(str, words)])
        status = 0
        try:
            runpy.run_path(str(ROOT / sys.argv[0]), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, *capfd.readouterr()

    return run


def test_what_is_exported_trains_a_mask_rcnn(export, dataset, checkpoint, tmp_path):
    output = tmp_path / "labels.json"
    status, said, complaints = export(output, "--weights", checkpoint)
    assert (status, complaints) == (0, "")
    coco = json.loads(output.read_text())
    nuclei = [each for each in coco["annotations"] if not each["iscrowd"]]
    given = json.loads(dataset.json_file.read_text())["annotations"]
    # Epoch 2 of 4: alpha = 1 - 2 / 4.
    assert f"{len(nuclei)} of {len(given)} nuclei have a mask" in said
    assert "(checkpoint of epoch 2, alpha 0.500)" in said
    points = {each["id"]: each["point"] for each in given}
    assert nuclei
    assert all(each["point"] == points[each["id"]] for each in nuclei)
    option = said.split("use it with: ")[1].split()
    assert option == ["--register", "synthetic_train_pseudo", str(output), str(dataset.image_root)]

    words = (
        *(ROOT / "tools" / "train_net.py", "--config-file", MASK_RCNN, *option),
        *("DATASETS.TRAIN", "synthetic_train_pseudo", "DATASETS.TEST", "()"),
        *("MODEL.SAM.INPUT_SIDE", "128", "INPUT.NUCLEI.CROP", "64", "DATALOADER.NUM_WORKERS", "0"),
        *("SOLVER.MAX_ITER", "1", "OUTPUT_DIR", tmp_path / "run"),
    )
    trained = subprocess.run(
        [sys.executable, *map(str, words)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (trained.returncode, trained.stderr) == (0, "")
    assert (tmp_path / "run" / "model_final.pth").exists()


def test_bare_weights_give_the_labels_of_the_beginning(export, tmp_path):
    status, said, complaints = export(tmp_path / "labels.json", "--weights", "mobile_sam")
    assert (status, complaints) == (0, "")
    assert "(bare weights, as in epoch 0, alpha 1.000)" in said


def test_trained_parts_have_the_labels_of_their_checkpoint(export, checkpoint, tmp_path):
    parts = tmp_path / "parts.pth"
    state = torch.load(checkpoint, weights_only=True)["model"]
    torch.save(pack_trained_parts(state, "mobile_sam", {"epoch": 2}), parts)
    written = {}
    for path in (checkpoint, parts):
        status, said, complaints = export(tmp_path / path.name, "--weights", path)
        assert (status, complaints) == (0, "")
        assert "(checkpoint of epoch 2, alpha 0.500)" in said
        written[path] = json.loads((tmp_path / path.name).read_text())["annotations"]
    assert written[parts] == written[checkpoint]


def test_trained_weights_that_tell_no_epoch_need_one(export, checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)["model"]
    parts, plain = tmp_path / "parts.pth", tmp_path / "plain.pth"
    torch.save(pack_trained_parts(state, "mobile_sam", {"epoch": None}), parts)
    torch.save({"model": state}, plain)
    output = tmp_path / "labels.json"
    for path in (parts, plain):
        status, _, complaints = export(output, "--weights", path)
        assert (status, complaints.count("\n")) == (2, 1)
        assert f"{path}: was trained, but does not say to which epoch; give it with --epoch" in (
            complaints
        )
        assert not output.exists()
    status, said, complaints = export(output, "--weights", parts, "--epoch", "3")
    assert (status, complaints) == (0, "")
    assert "(epoch 3 as given, alpha 0.250)" in said


@pytest.mark.parametrize(
    ("arguments", "config", "expected"),
    [
        (("--weights", "none.pth"), CONFIG, "none.pth"),
        ((), CONFIG, "--weights"),
        (("--weights", "mobile_sam"), MASK_RCNN, "'GeneralizedRCNN': makes no labels"),
        (("--weights", "mobile_sam", "DATASETS.TRAIN", "()"), CONFIG, "name exactly one dataset"),
        (("--weights", "mobile_sam", "--epoch", "4"), CONFIG, "--epoch 4: the training has 4"),
        (("--weights", "mobile_sam", "--epoch", "-1"), CONFIG, "--epoch -1: the training has 4"),
    ],
)
def test_bad_input_is_one_line(export, tmp_path, arguments, config, expected):
    status, _, complaints = export(tmp_path / "labels.json", *arguments, config=config)
    assert status == 2
    assert complaints.count("\n") == 1
    assert expected in complaints
    assert not (tmp_path / "labels.json").exists()

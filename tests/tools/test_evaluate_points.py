"""tools/evaluate_points.py: SAM's masks for the points of a dataset, scored."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from selfsam_d2.data.synthetic import write_synthetic_dataset

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "tools" / "evaluate_points.py")
CONFIG = str(ROOT / "configs" / "demo.yaml")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), seed=1, train=1, val=1, size=96)


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments)])
        runpy.run_path(SCRIPT, run_name="__main__")
        return capfd.readouterr()

    return run


def options(split, name, output, *keys):
    return [
        *("--config-file", CONFIG, "--register", name, split.json_file, split.image_root),
        *("--output", output, "DATASETS.TEST", f"('{name}',)", "MODEL.SAM.INPUT_SIDE", "128"),
        *("INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16", *keys),
    ]


def test_points_are_scored_without_training(run, data, tmp_path):
    out = run(*options(data["val"], f"with_boxes_{tmp_path.name}", tmp_path / "boxes")).out
    boxes = json.loads((tmp_path / "boxes" / "nuclei_metrics.json").read_text())["mean"]
    assert f"{boxes['AJI']:.4f}" in out
    assert 0.2 < boxes["AJI"] < 1
    keys = ("PROMPT.SPACING_BOX", "False", "PSEUDO_LABEL.VORONOI", "False")
    run(*options(data["val"], f"literal_{tmp_path.name}", tmp_path / "literal", *keys))
    literal = json.loads((tmp_path / "literal" / "nuclei_metrics.json").read_text())["mean"]
    assert literal["AJI"] < boxes["AJI"]


def test_a_dataset_without_masks_is_one_line(run, data, capfd, tmp_path):
    with pytest.raises(SystemExit) as stop:
        run(*options(data["train"], f"no_masks_{tmp_path.name}", tmp_path / "out"))
    assert stop.value.code == 2
    complaint = capfd.readouterr().err
    assert complaint.count("\n") == 1
    assert "without a mask" in complaint


def test_another_architecture_is_one_line(run, data, capfd, tmp_path):
    keys = ("MODEL.META_ARCHITECTURE", "RetinaNet")
    with pytest.raises(SystemExit) as stop:
        run(*options(data["val"], f"other_{tmp_path.name}", tmp_path / "out", *keys))
    assert stop.value.code == 2
    complaint = capfd.readouterr().err
    assert complaint.count("\n") == 1
    assert "'RetinaNet': makes no labels from points" in complaint

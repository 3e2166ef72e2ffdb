"""docs/first_steps.ipynb runs from its first cell to its last on what a demo leaves behind."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image
from shapely.geometry import shape

from selfsam_d2 import NucleiPredictor
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "first_steps.ipynb"
SIDE = 96
TINY = [
    *("MODEL.WEIGHTS", "", "MODEL.SAM.INPUT_SIDE", "128", "INPUT.NUCLEI.CROP", "64"),
    *("INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16"),
    # Random weights are not sure of anything.
    *("POSTPROCESS.FOREGROUND_THRESHOLD", "0.5"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Folder with the images of a demo and a model of random weights."""
    folder = tmp_path_factory.mktemp("demo")
    write_synthetic_dataset(folder / "data", seed=0, train=1, val=1, size=SIDE)
    cfg = load_config(str(ROOT / "configs" / "demo.yaml"), TINY)
    torch.manual_seed(0)
    model = SelfSAMTrainer.build_model(cfg)
    (folder / "training").mkdir()
    torch.save({"model": model.state_dict()}, folder / "training" / "model_final.pth")
    (folder / "training" / "config.yaml").write_text(cfg.dump())
    return folder


@pytest.fixture(scope="module")
def notebook(demo):
    """The notebook with the outputs of all cells."""
    content = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (
        cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])
    )
    parameters.source = f"DEMO = {str(demo)!r}"
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    return NotebookClient(content, timeout=600, resources=resources).execute()


def output_of(notebook, line):
    """What the cell that holds a line of code displays, by MIME type."""
    (cell,) = (each for each in notebook.cells if line in each.source)
    (output,) = (each for each in cell.outputs if each.output_type == "execute_result")
    return output.data


def test_it_is_stored_without_outputs_and_valid():
    content = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(content)
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert len(code) > 5
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []


def test_it_finds_what_the_predictor_finds(demo, notebook):
    predict = NucleiPredictor(demo / "training" / "model_final.pth")
    nuclei = predict(np.asarray(Image.open(demo / "data" / "val" / "val_00.png")))
    features = json.loads((demo / "val_00.geojson").read_text())["features"]
    count = len(features)
    assert count > 0
    shown = output_of(notebook, "instance_map.dtype")["text/plain"]
    assert shown == f"({count}, ({SIDE}, {SIDE}), dtype('int32'))"
    # Another process may round a pixel at the threshold to the other side.
    area = sum(shape(feature["geometry"]).area for feature in features)
    assert area == pytest.approx((nuclei.instance_map > 0).sum(), rel=0.05)
    table = output_of(notebook, "tabulate(")["text/html"]
    assert table.count("<tr>") == 1 + min(5, count)
    assert "area_um2" in table


def test_scores_shares_and_pictures_are_shown(demo, notebook):
    assert "'AJI_plus': " in output_of(notebook, "nuclei_metrics(true")["text/plain"]
    assert "'prompt_ignored': " in output_of(notebook, "label_image(")["text/plain"]
    for line in ("Image.fromarray(image)", "nuclei.overlay()", "quantize"):
        assert "image/png" in output_of(notebook, line)
    picture = Image.open(demo / "overview.png")
    assert picture.size == (3 * 2 * SIDE + 2 * 10, 2 * SIDE)

"""The models that come with the package: small, documented, loaded by name, and as good as said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.evaluation.instance_maps import instances_to_map
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.modeling.weights import load_weights
from selfsam_d2.weights.cache import file_sha256
from selfsam_d2.weights.catalog import CATALOG, CatalogEntry

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "model_zoo"
LARGEST = 20e6  # bytes
TRAINED = ("backbone.adapter", "nuclei_head.", "contrast_head.")
ROWS = ("Data", "Licence", "Base weights", "Config", "Seed", "Steps", "Metrics", "Intended use")
SHIPPED = [entry for entry in CATALOG.values() if entry.shipped]


def read_card(entry: CatalogEntry) -> tuple[str, dict[str, Any]]:
    """Text of a model's card and what its JSON block holds."""
    text = (ZOO / entry.file_name).with_suffix(".md").read_text()
    block = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return text, json.loads(block.group(1))


def test_one_model_is_shipped_and_nothing_else() -> None:
    assert [entry.name for entry in SHIPPED] == ["selfsam_monuseg_vitt"]
    names = {path.name for path in ZOO.iterdir()}
    assert names == {
        Path(entry.file_name).with_suffix(end).name for entry in SHIPPED for end in (".pth", ".md")
    }


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_the_file_is_small_and_holds_only_what_was_trained(entry: CatalogEntry) -> None:
    path = ZOO / entry.file_name
    assert path.stat().st_size <= LARGEST
    assert file_sha256(path) == entry.sha256
    content = torch.load(path, weights_only=True)
    assert all(key.startswith(TRAINED) for key in content["model"])
    assert content["base"]["name"] in CATALOG
    assert re.fullmatch("[0-9a-f]{64}", content["base"]["sha256"])


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_the_card_says_what_a_user_must_know(entry: CatalogEntry) -> None:
    text, block = read_card(entry)
    for row in ROWS:
        assert re.search(rf"^\| {row} \| [^\s|]", text, re.MULTILINE), row
    assert "CC BY-NC-SA" in text
    content = torch.load(ZOO / entry.file_name, weights_only=True)
    assert f"`{content['base']['name']}`" in text
    assert content["base"]["sha256"] in text
    assert f"`{block['config']}`" in text


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_its_metrics_come_out_again(entry: CatalogEntry) -> None:
    _, block = read_card(entry)
    check = block["check"]
    cfg = load_config(str(ROOT / block["config"]), ["MODEL.WEIGHTS", entry.name])
    model = SelfSAMTrainer.build_model(cfg).eval()
    load_weights(model, cfg.MODEL.WEIGHTS)
    rng = np.random.default_rng(check["seed"])
    image, true = make_synthetic_image(rng, check["side"], check["nuclei"])
    with torch.no_grad():
        outputs = model([{"image": torch.from_numpy(image.transpose(2, 0, 1).copy())}])
    measured = nuclei_metrics(true, instances_to_map(outputs[0]["instances"]))
    assert measured["Dice"] == pytest.approx(check["Dice"], abs=0.01)
    assert measured["AJI"] == pytest.approx(check["AJI"], abs=0.02)


def test_a_wheel_holds_the_models(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    built = {path.name for path in (tmp_path / "selfsam_d2" / "model_zoo").iterdir()}
    assert {entry.file_name for entry in SHIPPED} <= built

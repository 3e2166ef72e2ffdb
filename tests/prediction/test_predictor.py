"""Nuclei in two lines of Python, from the weights alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from shapely.geometry import shape

from selfsam_d2 import NucleiPredictor
from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError

ROOT = Path(__file__).parents[2]
TINY = [
    *("MODEL.WEIGHTS", "", "MODEL.SAM.INPUT_SIDE", "128", "INPUT.NUCLEI.CROP", "64"),
    *("INFERENCE.WINDOW", "64", "INFERENCE.OVERLAP", "16", "INFERENCE.TILE", "0"),
    # Random weights are not sure of anything.
    *("POSTPROCESS.FOREGROUND_THRESHOLD", "0.5", "SEED", "1"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training: checkpoint and config."""
    folder = tmp_path_factory.mktemp("run")
    cfg = load_config(str(ROOT / "configs" / "monuseg_vitt.yaml"), TINY)
    torch.manual_seed(0)
    model = SelfSAMTrainer.build_model(cfg)
    torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder


@pytest.fixture(scope="module")
def image() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return make_synthetic_image(np.random.default_rng(0), 96, 12)[0]


def test_weights_of_a_run_need_no_config(run: Path, image: Any) -> None:
    nuclei = NucleiPredictor(run / "model_final.pth")(image, name="a.png", microns_per_pixel=0.25)
    assert nuclei.instance_map.shape == image.shape[:2]
    assert nuclei.instance_map.dtype == np.int32
    assert len(nuclei) == len(np.unique(nuclei.instance_map)) - 1 > 0
    table = nuclei.table()
    assert table["score"] == pytest.approx(nuclei.scores)
    assert {len(column) for column in table.values()} == {len(nuclei)}
    np.testing.assert_allclose(table["area_um2"], table["area_px"] / 16)
    features = nuclei.to_geojson("Cell")["features"]
    assert [shape(each["geometry"]).area for each in features] == table["area_px"].tolist()
    assert features[0]["properties"]["measurements"]["area_px"] == table["area_px"][0]
    overlay = nuclei.overlay()
    changed = (overlay != image).any(axis=2)
    assert changed.any()
    assert (nuclei.instance_map[changed] > 0).all()


def test_coco_masks_are_those_of_the_map(run: Path, image: Any) -> None:
    nuclei = NucleiPredictor(run / "model_final.pth")(image, name="a.png")
    coco = nuclei.to_coco(image_id=3, first_id=11)
    assert coco["images"] == [{"id": 3, "file_name": "a.png", "height": 96, "width": 96}]
    assert [each["id"] for each in coco["annotations"]] == list(range(11, 11 + len(nuclei)))
    ids = np.unique(nuclei.instance_map)[1:]
    for number, each in zip(ids, coco["annotations"], strict=True):
        mask = coco_mask.decode(each["segmentation"])
        np.testing.assert_array_equal(mask, nuclei.instance_map == number)
        assert each["image_id"] == 3


def test_arrays_and_pil_images_give_the_same(run: Path, image: Any) -> None:
    predict = NucleiPredictor(run / "model_final.pth", device="cpu")
    with_alpha = Image.fromarray(image).convert("RGBA")
    np.testing.assert_array_equal(predict(image).instance_map, predict(with_alpha).instance_map)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta:x", ""])
def test_a_device_that_is_not_there_is_refused(run: Path, device: str) -> None:
    with pytest.raises(InputError, match=f"^device {device}: cannot be used"):
        NucleiPredictor(run / "model_final.pth", device=device)


def test_overrides_reach_the_model(run: Path) -> None:
    overrides = ("POSTPROCESS.FOREGROUND_THRESHOLD", "1.0")
    predict = NucleiPredictor(run / "model_final.pth", overrides=overrides)
    assert len(predict(np.zeros((64, 64, 3), dtype=np.uint8))) == 0


@pytest.mark.parametrize("bad", [np.zeros((8, 8)), np.zeros((8, 8, 4), np.uint8)])
def test_other_arrays_are_refused(run: Path, bad: Any) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        NucleiPredictor(run / "model_final.pth")(bad)


def test_weights_without_a_config_say_what_to_give(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.pth"
    alone.write_bytes((run / "model_final.pth").read_bytes())
    with pytest.raises(InputError, match="--config-file"):
        NucleiPredictor(alone)
    assert NucleiPredictor(alone, run / "config.yaml").cfg.SEED == 1


def test_a_detector_is_refused(run: Path) -> None:
    config = ROOT / "configs" / "mask_rcnn_sam_adapter_vitt_fpn.yaml"
    with pytest.raises(InputError, match="GeneralizedRCNN"):
        NucleiPredictor(run / "model_final.pth", config)

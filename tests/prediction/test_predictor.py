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
from selfsam_d2.errors import InputError
from selfsam_d2.weights.resolve import resolve_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def image() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return make_synthetic_image(np.random.default_rng(0), 96, 12)[0]


def test_weights_of_a_run_need_no_config(tiny_run: Path, image: Any) -> None:
    nuclei = NucleiPredictor(tiny_run / "model_final.pth")(
        image, name="a.png", microns_per_pixel=0.25
    )
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


def test_coco_masks_are_those_of_the_map(tiny_run: Path, image: Any) -> None:
    nuclei = NucleiPredictor(tiny_run / "model_final.pth")(image, name="a.png")
    coco = nuclei.to_coco(image_id=3, first_id=11)
    assert coco["images"] == [{"id": 3, "file_name": "a.png", "height": 96, "width": 96}]
    assert [each["id"] for each in coco["annotations"]] == list(range(11, 11 + len(nuclei)))
    ids = np.unique(nuclei.instance_map)[1:]
    for number, each in zip(ids, coco["annotations"], strict=True):
        mask = coco_mask.decode(each["segmentation"])
        np.testing.assert_array_equal(mask, nuclei.instance_map == number)
        assert each["image_id"] == 3


def test_arrays_and_pil_images_give_the_same(tiny_run: Path, image: Any) -> None:
    predict = NucleiPredictor(tiny_run / "model_final.pth", device="cpu")
    with_alpha = Image.fromarray(image).convert("RGBA")
    np.testing.assert_array_equal(predict(image).instance_map, predict(with_alpha).instance_map)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta:x", ""])
def test_a_device_that_is_not_there_is_refused(tiny_run: Path, device: str) -> None:
    with pytest.raises(InputError, match=f"^device {device}: cannot be used"):
        NucleiPredictor(tiny_run / "model_final.pth", device=device)


def test_overrides_reach_the_model(tiny_run: Path) -> None:
    overrides = ("POSTPROCESS.FOREGROUND_THRESHOLD", "1.0")
    predict = NucleiPredictor(tiny_run / "model_final.pth", overrides=overrides)
    assert len(predict(np.zeros((64, 64, 3), dtype=np.uint8))) == 0


def test_the_fingerprint_changes_with_what_changes_the_nuclei(
    tiny_run: Path, tmp_path: Path
) -> None:
    def fingerprint(*overrides: str, weights: Path = tiny_run / "model_final.pth") -> str:
        return NucleiPredictor(weights, tiny_run / "config.yaml", overrides=overrides).fingerprint

    own = fingerprint()
    assert own == fingerprint("INFERENCE.BATCH_SIZE", "1", "MODEL.DEVICE", "cpu")
    assert own != fingerprint("POSTPROCESS.FOREGROUND_THRESHOLD", "0.4")
    content = torch.load(tiny_run / "model_final.pth", weights_only=True)
    next(iter(content["model"].values())).view(-1)[0] += 1
    torch.save(content, tmp_path / "other.pth")
    assert own != fingerprint(weights=tmp_path / "other.pth")


def test_the_model_sees_its_own_resolution(tiny_run: Path, image: Any) -> None:
    overrides = ("INPUT.NUCLEI.MICRONS_PER_PIXEL", "0.5")
    predict = NucleiPredictor(tiny_run / "model_final.pth", overrides=overrides)
    assert predict.microns_per_pixel == 0.5
    seen = []
    predict.model.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]["image"]))
    nuclei = predict(image, microns_per_pixel=1.0)
    assert seen[0].shape == (3, 192, 192)
    assert nuclei.instance_map.shape == nuclei.foreground.shape == (96, 96)
    assert nuclei.image is image
    assert len(nuclei) == nuclei.instance_map.max() > 0
    assert "area_um2" in nuclei.table()
    assert NucleiPredictor(tiny_run / "model_final.pth").microns_per_pixel is None


@pytest.mark.parametrize(
    "bad", [np.zeros((8, 8)), np.zeros((8, 8, 4), np.uint8), Image.new("L", (64, 64))]
)
def test_other_images_are_refused(tiny_predictor: NucleiPredictor, bad: Any) -> None:
    with pytest.raises(ValueError, match=r"8-bit RGB|uint8 RGB"):
        tiny_predictor(bad)


def test_no_resolution_is_refused_before_the_model_runs(
    tiny_predictor: NucleiPredictor, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_predictor, "_predict", lambda pixels: pytest.fail("it ran"))
    with pytest.raises(ValueError, match="`microns_per_pixel`"):
        tiny_predictor(image, microns_per_pixel=0)


def test_the_shipped_model_is_had_by_its_name_alone(tmp_path: Path) -> None:
    """Its config is in the file: none lies beside it, and the notes are what is read."""
    image, truth = make_synthetic_image(np.random.default_rng(0), 96, 8)
    predict = NucleiPredictor("selfsam_monuseg_vitt", device="cpu")
    assert not resolve_weights("selfsam_monuseg_vitt").with_name("config.yaml").exists()
    assert predict.microns_per_pixel == 0.25
    nuclei = predict(image)
    found, true = nuclei.instance_map > 0, truth > 0
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.85
    for number in range(1, truth.max() + 1):
        ids, counts = np.unique(nuclei.instance_map[truth == number], return_counts=True)
        same = nuclei.instance_map == ids[counts.argmax()]
        assert ids[counts.argmax()] > 0
        assert counts.max() / (same | (truth == number)).sum() > 0.5


def test_the_config_in_the_weights_goes_before_the_one_beside_them(
    tiny_run: Path, tmp_path: Path
) -> None:
    content = torch.load(tiny_run / "model_final.pth", weights_only=True)
    text = (tiny_run / "config.yaml").read_text()
    beside, inside = (text.replace("\nSEED: 1\n", f"\nSEED: {seed}\n") for seed in (7, 8))
    torch.save({**content, "notes": {"config": inside}}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(beside)
    assert NucleiPredictor(tmp_path / "model.pth").cfg.SEED == 8
    assert NucleiPredictor(tmp_path / "model.pth", tmp_path / "config.yaml").cfg.SEED == 7
    torch.save(content, tmp_path / "model.pth")
    assert NucleiPredictor(tmp_path / "model.pth").cfg.SEED == 7


def test_weights_without_a_config_say_what_to_give(tiny_run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.pth"
    alone.write_bytes((tiny_run / "model_final.pth").read_bytes())
    with pytest.raises(InputError, match="--config-file"):
        NucleiPredictor(alone)
    assert NucleiPredictor(alone, tiny_run / "config.yaml").cfg.SEED == 1


def test_a_detector_is_refused(tiny_run: Path) -> None:
    config = ROOT / "configs" / "mask_rcnn_sam_adapter_vitt_fpn.yaml"
    with pytest.raises(InputError, match="GeneralizedRCNN"):
        NucleiPredictor(tiny_run / "model_final.pth", config)

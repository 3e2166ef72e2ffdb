"""Average precision of many nuclei is that of COCO's own code, in every detail of the matching."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from skimage.draw import disk

from selfsam_d2.evaluation.coco import NucleiCOCOEvaluator
from selfsam_d2.structures.rle_masks import RLEMasks

NAME = "coco_precision_test"
SIDE = 320


def draw_nuclei(rng: np.random.Generator, spacing: int) -> np.ndarray:
    """Disks on a grid, some small, some larger than 32² px, some missing."""
    instance_map = np.zeros((SIDE, SIDE), np.int32)
    for row in range(spacing, SIDE - spacing // 2, spacing):
        for column in range(spacing, SIDE - spacing // 2, spacing):
            if rng.random() < 0.9:
                radius = rng.uniform(0.2, 0.49) * spacing
                instance_map[disk((row, column), radius)] = rng.integers(1, 9999)
    return instance_map


def make_dataset(path: Path, rng: np.random.Generator, truth: dict[int, Any], crowds: bool) -> None:
    images, annotations = [], []
    for image_id, instance_map in truth.items():
        images.append({"id": image_id, "file_name": "a.png", "height": SIDE, "width": SIDE})
        annotations += [
            {
                "id": len(annotations) + number,
                "image_id": image_id,
                "category_id": 1,
                "segmentation": rle,
                "iscrowd": int(crowds and rng.random() < 0.1),
            }
            for number, rle in enumerate(RLEMasks.from_instance_map(instance_map).rles, start=1)
        ]
    category = {"id": 1, "name": "nucleus"}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    path.write_text(json.dumps(content))


def predict(rng: np.random.Generator, instance_map: np.ndarray) -> dict[str, Any]:
    """Each nucleus moved by up to 2 px, a few cut in two, and some that are none."""
    moved = np.roll(instance_map, rng.integers(-2, 3, 2), axis=(0, 1))
    moved[:, :: rng.integers(20, 40)] = 0
    spurious = np.where(moved == 0, draw_nuclei(rng, 30) * (rng.random() < 0.5), 0)
    masks = RLEMasks.from_instance_map(np.where(moved % 9 == 0, spurious, moved))
    count = len(masks)
    instances = Instances(
        (SIDE, SIDE),
        pred_masks=masks,
        pred_boxes=Boxes(torch.zeros(count, 4)),
        # Few different scores, so that the order of equal ones counts.
        scores=torch.from_numpy(rng.integers(0, 12, count) / 12),
        pred_classes=torch.zeros(count, dtype=torch.int64),
    )
    return {"instances": instances}


# Each example takes half a second, so none is made smaller.
@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    seed=st.integers(0, 2**32 - 1),
    spacing=st.sampled_from([24, 40, 90]),
    crowds=st.booleans(),
    most=st.sampled_from([30, 100, 3000]),
    only=st.sampled_from([None, [4]]),
)
def test_precision_is_that_of_cocos_own_code(tmp_path_factory, seed, spacing, crowds, most, only):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("coco") / "dataset.json"
    truth = {image_id: draw_nuclei(rng, spacing) for image_id in (4, 2)}
    make_dataset(path, rng, truth, crowds)
    MetadataCatalog.get(NAME).set(
        json_file=str(path),
        thing_classes=["nucleus"],
        thing_dataset_id_to_contiguous_id={1: 0},
    )
    try:
        own = NucleiCOCOEvaluator(NAME, distributed=False, max_detections=most)
        stock = COCOEvaluator(NAME, ("segm",), False, max_dets_per_image=most, use_fast_impl=False)
        for annotation in stock._coco_api.dataset["annotations"]:
            annotation["area"] = float(own._coco_api.anns[annotation["id"]]["area"])
        own.reset()
        stock.reset()
        for image_id in (2, 4):
            output = predict(rng, truth[image_id])
            own.process([{"image_id": image_id}], [output])
            masks = output["instances"].pred_masks
            output["instances"].pred_masks = torch.stack(list(masks))
            stock.process([{"image_id": image_id}], [output])
        want, got = (each.evaluate(img_ids=only)["segm"] for each in (stock, own))
        assert got == pytest.approx(want, abs=1e-9, nan_ok=True)
        assume(0 < want["AP"] < 100)  # else the example is equal, but says little
    finally:
        MetadataCatalog.pop(NAME)

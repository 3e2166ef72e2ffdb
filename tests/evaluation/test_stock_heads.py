"""Scores of what Detectron2's heads predict: masks one by one, boxes, classes of pixels."""

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask

from selfsam_d2.evaluation.coco import NucleiCOCOEvaluator
from selfsam_d2.evaluation.foreground_evaluator import FOREGROUND_FILE, ForegroundEvaluator
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.evaluation.nuclei_evaluator import NucleiEvaluator
from selfsam_d2.structures.rle_masks import RLEMasks

NAME = "stock_heads_test"
SIDE = 60


@pytest.fixture
def truth():
    """Nine nuclei of 12 px."""
    return np.kron(
        np.arange(1, 10, dtype=np.int32).reshape(3, 3),
        np.pad(np.ones((12, 12), np.int32), ((0, 8), (0, 8))),
    )


@pytest.fixture
def register(tmp_path):
    def register(instance_map, crowd=(), areas=True):
        rles = RLEMasks.from_instance_map(instance_map).rles
        annotations = [
            {
                "id": index,
                "image_id": 3,
                "category_id": 1,
                "segmentation": rle,
                "iscrowd": int(index in crowd),
                **({"area": 144, "bbox": coco_mask.toBbox(rle).tolist()} if areas else {}),
            }
            for index, rle in enumerate(rles, start=1)
        ]
        image = {"id": 3, "file_name": "slide.png", "height": SIDE, "width": SIDE}
        content = {
            "images": [image],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "nucleus"}],
        }
        path = tmp_path / "dataset.json"
        path.write_text(json.dumps(content))
        records = [{**image, "image_id": 3, "annotations": annotations}]
        DatasetCatalog.register(NAME, lambda: records)
        MetadataCatalog.get(NAME).set(
            json_file=str(path),
            thing_classes=["nucleus"],
            thing_dataset_id_to_contiguous_id={1: 0},
        )

    yield register
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


def predictions(instance_map, shift, dense):
    """Each nucleus moved by ``shift`` px, scores falling from 0.95 to 0.15."""
    masks = RLEMasks.from_instance_map(np.roll(instance_map, shift, axis=(0, 1)))
    return Instances(
        instance_map.shape,
        pred_masks=torch.stack(list(masks)) if dense else masks,
        pred_boxes=masks.bounding_boxes(),
        scores=torch.linspace(0.95, 0.15, len(masks)),
        pred_classes=torch.zeros(len(masks), dtype=torch.int64),
    )


def evaluate(evaluator, output):
    evaluator.reset()
    evaluator.process([{"image_id": 3}], [output])
    return evaluator.evaluate()


@pytest.mark.parametrize("dense", [False, True])
def test_masks_of_low_score_are_left_out_of_the_instance_map(register, truth, dense):
    register(truth)
    instances = predictions(truth, (1, 0), dense)
    found = evaluate(NucleiEvaluator(NAME, min_score=0.5), {"instances": instances})["nuclei"]
    moved = np.roll(truth, (1, 0), axis=(0, 1))
    kept = np.where(np.isin(moved, [1, 2, 3, 4, 5]), moved, 0)
    assert (instances.scores >= 0.5).sum() == 5
    assert found == pytest.approx(nuclei_metrics(truth, kept))
    everything = evaluate(NucleiEvaluator(NAME), {"instances": instances})["nuclei"]
    assert everything["AJI"] > found["AJI"] > 0


@pytest.mark.parametrize("areas", [True, False])
@pytest.mark.parametrize("dense", [False, True])
def test_box_ap_is_that_of_detectron2(register, truth, dense, areas):
    register(truth)
    output = {"instances": predictions(truth, (2, 1), dense=True)}
    stock = COCOEvaluator(NAME, ("bbox", "segm"), False, use_fast_impl=False)
    expected = evaluate(stock, output)
    assert 0 < expected["bbox"]["AP"] < 100
    DatasetCatalog.pop(NAME)
    register(truth, areas=areas)
    own = NucleiCOCOEvaluator(NAME, distributed=False, tasks=("bbox", "segm"))
    found = evaluate(own, {"instances": predictions(truth, (2, 1), dense)})
    for task in ("bbox", "segm"):
        assert found[task] == pytest.approx(expected[task], nan_ok=True)


def test_boxes_alone_will_do(register, truth):
    register(truth)
    instances = predictions(truth, (1, 1), dense=True)
    instances.remove("pred_masks")
    own = NucleiCOCOEvaluator(NAME, distributed=False, tasks=("bbox",))
    stock = COCOEvaluator(NAME, ("bbox",), False, use_fast_impl=False)
    expected = evaluate(stock, {"instances": instances})
    assert evaluate(own, {"instances": instances}) == {
        "bbox": pytest.approx(expected["bbox"], nan_ok=True)
    }


def test_more_than_100_boxes_count(register):
    # 144 nuclei; Detectron2's default stops at 100.
    grid = np.arange(1, 145, dtype=np.int32).reshape(12, 12)
    crowded = np.kron(grid, np.pad(np.ones((4, 4), np.int32), ((0, 1), (0, 1))))
    register(crowded)
    instances = predictions(crowded, (0, 0), dense=False)
    instances.pred_boxes = Boxes(instances.pred_masks.bounding_boxes().tensor)
    found = evaluate(
        NucleiCOCOEvaluator(NAME, distributed=False, tasks=("bbox",)), {"instances": instances}
    )
    assert found["bbox"]["AP"] == pytest.approx(100)


def test_dice_of_a_semantic_head(register, truth, tmp_path):
    register(truth, crowd=(9,))
    predicted = np.roll(truth, (0, 3), axis=(0, 1)) > 0
    logits = torch.from_numpy(np.stack([~predicted, predicted])).float() * 4 - 7
    found = evaluate(ForegroundEvaluator(NAME, tmp_path), {"sem_seg": logits})
    # The crowd region, id 9, counts as background on both sides.
    true, pred = (truth > 0) & (truth != 9), predicted & (truth != 9)
    dice = 2 * (true & pred).sum() / (true.sum() + pred.sum())
    assert found == {"sem_seg": {"Dice": pytest.approx(dice)}}
    written = json.loads((tmp_path / FOREGROUND_FILE).read_text())
    assert written["images"]["slide"]["Dice"] == pytest.approx(dice)

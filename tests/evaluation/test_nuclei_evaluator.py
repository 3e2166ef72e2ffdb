"""The two Detectron2 evaluators on a registered dataset."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators, print_csv_format
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm

from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.coco import NucleiCOCOEvaluator
from selfsam_d2.evaluation.metrics import METRIC_NAMES, nuclei_metrics
from selfsam_d2.evaluation.nuclei_evaluator import NucleiEvaluator
from selfsam_d2.structures.rle_masks import RLEMasks

NAME = "nuclei_evaluator_test"

FIRST = np.kron([[1, 0, 2, 2], [0, 3, 3, 0], [4, 0, 0, 5]], np.ones((6, 6))).astype(np.int32)
SECOND = np.kron([[0, 1], [2, 0], [0, 3]], np.ones((8, 9))).astype(np.int32)
TRUE = {11: FIRST, 12: SECOND}

Register = Callable[..., None]


def make_content(maps: dict[int, np.ndarray]) -> dict[str, Any]:
    images, annotations = [], []
    for image_id, instance_map in maps.items():
        height, width = instance_map.shape
        file_name = f"image_{image_id}.png"
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for rle in RLEMasks.from_instance_map(instance_map).rles:
            annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 7}
            annotations.append({**annotation, "segmentation": rle})
    category = {"id": 7, "name": "nucleus"}
    return {"images": images, "annotations": annotations, "categories": [category]}


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Register]:
    """Register COCO content in detectron2's catalogs, as ``register_nuclei_instances`` would."""

    def register(content: dict[str, Any]) -> None:
        path = tmp_path / "dataset.json"
        path.write_text(json.dumps(content))
        records = [
            {
                **image,
                "file_name": f"/images/{image['file_name']}",
                "image_id": image["id"],
                "annotations": [
                    entry for entry in content["annotations"] if entry["image_id"] == image["id"]
                ],
            }
            for image in content["images"]
        ]
        DatasetCatalog.register(NAME, lambda: records)
        MetadataCatalog.get(NAME).set(
            json_file=str(path), evaluator_type="nuclei", thing_classes=["nucleus"]
        )

    yield register
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


def shifted(instance_map: np.ndarray) -> np.ndarray:
    return np.roll(instance_map, (1, 2), axis=(0, 1))


def make_output(instance_map: np.ndarray, *, dense: bool = False) -> dict[str, Any]:
    masks = RLEMasks.from_instance_map(instance_map)
    instances = Instances(instance_map.shape)
    instances.pred_masks = torch.stack(list(masks)) if dense else masks
    instances.pred_boxes = masks.bounding_boxes()
    instances.scores = torch.linspace(0.9, 0.4, len(masks))
    instances.pred_classes = torch.zeros(len(masks), dtype=torch.int64)
    return {"instance_map": torch.from_numpy(instance_map), "instances": instances}


def expected_rows(pred: dict[int, np.ndarray]) -> dict[str, dict[str, float]]:
    return {f"image_{key}": nuclei_metrics(TRUE[key], pred[key]) for key in TRUE}


def test_results_file_and_log(register, tmp_path, caplog):
    register(make_content(TRUE))
    pred = {key: shifted(instance_map) for key, instance_map in TRUE.items()}
    evaluator = NucleiEvaluator(NAME, tmp_path / "inference")
    evaluator.process([{"image_id": key} for key in TRUE], [make_output(pred[key]) for key in TRUE])
    with caplog.at_level(logging.INFO, logger="selfsam_d2"):
        results = evaluator.evaluate()
    rows = expected_rows(pred)
    assert list(results) == ["nuclei"]
    assert tuple(results["nuclei"]) == METRIC_NAMES
    for metric, value in results["nuclei"].items():
        assert value == pytest.approx(np.mean([row[metric] for row in rows.values()]), abs=1e-12)
    content = json.loads((tmp_path / "inference" / "nuclei_metrics.json").read_text())
    assert content["mean"] == results["nuclei"]
    assert content["images"] == {key: pytest.approx(row) for key, row in rows.items()}
    assert "image_11" in caplog.text
    print_csv_format(results)


def test_images_that_were_not_seen_are_said(register, caplog):
    register(make_content(TRUE))
    evaluator = NucleiEvaluator(NAME)
    evaluator.evaluate()
    for key in TRUE:
        evaluator.process([{"image_id": key}], [make_output(TRUE[key])])
        evaluator.evaluate()
    said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert [each.split()[:3] for each in said] == [["no", "prediction", "for"], ["1", "of", "the"]]


@pytest.mark.parametrize("dense", [True, False])
def test_masks_are_used_where_there_is_no_instance_map(register, dense):
    register(make_content(TRUE))
    evaluator = NucleiEvaluator(NAME)
    outputs = [
        {"instances": make_output(shifted(TRUE[key]), dense=dense)["instances"]} for key in TRUE
    ]
    evaluator.process([{"image_id": key} for key in TRUE], outputs)
    rows = expected_rows({key: shifted(instance_map) for key, instance_map in TRUE.items()})
    expected = np.mean([row["AJI"] for row in rows.values()])
    assert evaluator.evaluate()["nuclei"]["AJI"] == pytest.approx(expected, abs=1e-12)


def test_pixels_of_a_crowd_annotation_do_not_count(register):
    content = make_content({11: FIRST})
    crowd = np.zeros(FIRST.shape, dtype=np.uint8)
    crowd[:, -6:] = 1
    content["annotations"][0]["iscrowd"] = 0
    mask = coco_mask.encode(np.asfortranarray(crowd))
    runs = {"size": mask["size"], "counts": mask["counts"].decode()}
    content["annotations"].append(
        {"id": 99, "image_id": 11, "category_id": 7, "segmentation": runs, "iscrowd": 1}
    )
    register(content)
    pred = FIRST.copy()
    pred[6:12, -6:] = 77
    evaluator = NucleiEvaluator(NAME)
    evaluator.process([{"image_id": 11}], [{"instance_map": torch.from_numpy(pred)}])
    assert set(evaluator.evaluate()["nuclei"].values()) == {1.0}


def test_images_without_nuclei(register, tmp_path):
    empty = np.zeros_like(SECOND)
    register(make_content({11: FIRST, 12: empty}))
    evaluator = NucleiEvaluator(NAME, tmp_path)
    evaluator.process([{"image_id": 12}], [{"instance_map": torch.from_numpy(empty)}])
    assert all(np.isnan(value) for value in evaluator.evaluate()["nuclei"].values())
    evaluator.process([{"image_id": 11}], [{"instance_map": torch.from_numpy(FIRST)}])
    assert set(evaluator.evaluate()["nuclei"].values()) == {1.0}
    content = json.loads((tmp_path / "nuclei_metrics.json").read_text())
    assert content["both_empty"] == 1
    evaluator.reset()
    assert evaluator.evaluate() == {}


def test_ranks_are_gathered_on_the_main_one(register, monkeypatch):
    register(make_content(TRUE))
    other = NucleiEvaluator(NAME)
    other.process([{"image_id": 12}], [make_output(shifted(SECOND))])
    evaluator = NucleiEvaluator(NAME)
    evaluator.process([{"image_id": 11}], [make_output(FIRST)])
    monkeypatch.setattr(comm, "gather", lambda scores, dst: [scores, other._scores])
    expected = (1 + nuclei_metrics(SECOND, shifted(SECOND))["PQ"]) / 2
    assert evaluator.evaluate()["nuclei"]["PQ"] == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluator.evaluate() == {}


def test_shared_stems_are_told_apart(register, tmp_path):
    content = make_content(TRUE)
    for image, folder in zip(content["images"], ("a", "b"), strict=True):
        image["file_name"] = f"{folder}/same.png"
    register(content)
    evaluator = NucleiEvaluator(NAME, tmp_path)
    evaluator.process([{"image_id": key} for key in TRUE], [make_output(TRUE[key]) for key in TRUE])
    evaluator.evaluate()
    content = json.loads((tmp_path / "nuclei_metrics.json").read_text())
    assert list(content["images"]) == ["/images/a/same.png", "/images/b/same.png"]


@pytest.mark.parametrize("evaluator", [NucleiEvaluator, NucleiCOCOEvaluator])
def test_a_dataset_of_points_cannot_be_evaluated(register, evaluator):
    content = make_content(TRUE)
    del content["annotations"][-1]["segmentation"]
    content["annotations"][-1]["point"] = [3.0, 4.0]
    register(content)
    with pytest.raises(InputError, match=f"{NAME}: .*image_12.png.*evaluation needs masks"):
        evaluator(NAME)


@pytest.mark.parametrize("evaluator", [NucleiEvaluator, NucleiCOCOEvaluator])
def test_a_malformed_mask_is_named(register, evaluator):
    content = make_content(TRUE)
    content["annotations"][-1]["segmentation"] = [[1, 1, 4, 4]]
    register(content)
    with pytest.raises(InputError, match=r"image_12\.png.*at least 3 points"):
        evaluator(NAME).process([{"image_id": 12}], [make_output(SECOND)])


def test_other_bad_input(register):
    register(make_content(TRUE))
    evaluator = NucleiEvaluator(NAME)
    with pytest.raises(InputError, match=r"image_11\.png: the prediction is 24 x 18 .* 18 x 24"):
        evaluator.process([{"image_id": 11}], [make_output(SECOND)])
    with pytest.raises(InputError, match=f"image id 5: not in the dataset {NAME}"):
        evaluator.process([{"image_id": 5}], [make_output(SECOND)])


def test_a_dataset_without_images(register):
    register({"images": [], "annotations": [], "categories": []})
    with pytest.raises(InputError, match="has no image"):
        NucleiEvaluator(NAME)


def test_coco_values_are_those_of_detectron2_for_dense_masks(register, tmp_path):
    content = make_content(TRUE)
    for annotation in content["annotations"]:
        annotation["area"] = int(coco_mask.area(annotation["segmentation"]))
        annotation["iscrowd"] = 0
    register(content)
    MetadataCatalog.get(NAME).thing_dataset_id_to_contiguous_id = {7: 0}
    stock = COCOEvaluator(
        NAME, tasks=("segm",), max_dets_per_image=3000, use_fast_impl=False, distributed=False
    )
    results = []
    for evaluator, dense in (
        (stock, True),
        (NucleiCOCOEvaluator(NAME, tmp_path), False),
        (NucleiCOCOEvaluator(NAME, tmp_path), True),
    ):
        evaluator.reset()
        for key in TRUE:
            evaluator.process([{"image_id": key}], [make_output(shifted(TRUE[key]), dense=dense)])
        results.append(evaluator.evaluate()["segm"])
    assert 0 < results[0]["AP"] < 100
    assert results[1] == pytest.approx(results[0], nan_ok=True)
    assert results[2] == pytest.approx(results[0], nan_ok=True)


def test_more_than_100_detections_count_and_no_mask_is_decoded(register, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    grid = np.arange(1, 145, dtype=np.int32).reshape(12, 12)
    instance_map = np.kron(grid, np.pad(np.ones((4, 4), np.int32), ((0, 1), (0, 1))))
    register(make_content({11: instance_map}))
    evaluators = DatasetEvaluators([NucleiEvaluator(NAME), NucleiCOCOEvaluator(NAME)])
    evaluators.reset()
    output = make_output(instance_map)

    def refuse(*_: object) -> None:
        raise AssertionError("a mask was decoded")

    monkeypatch.setattr(RLEMasks, "_decode", refuse)
    evaluators.process([{"image_id": 11}], [output])
    results = evaluators.evaluate()
    assert results["segm"]["AP"] == pytest.approx(100)
    assert results["segm"]["AP50"] == pytest.approx(100)
    assert results["nuclei"]["AJI"] == 1.0
    assert "maxDets=3000" in caplog.text


def test_every_category_of_the_file_counts_as_nucleus(register):
    content = make_content(TRUE)
    content["categories"].append({"id": 3, "name": "another kind"})
    for annotation in content["annotations"][::2]:
        annotation.update(category_id=3, id=annotation["id"] - 1)
    register(content)
    MetadataCatalog.get(NAME).thing_dataset_id_to_contiguous_id = {1: 0}
    evaluator = NucleiCOCOEvaluator(NAME)
    evaluator.reset()
    for key in TRUE:
        evaluator.process([{"image_id": key}], [make_output(TRUE[key])])
    assert evaluator.evaluate()["segm"]["AP"] == pytest.approx(100)


def test_coco_without_detections(register):
    register(make_content(TRUE))
    evaluator = NucleiCOCOEvaluator(NAME)
    evaluator.reset()
    empty = Instances(
        FIRST.shape,
        pred_masks=RLEMasks([], *FIRST.shape),
        pred_boxes=Boxes(torch.zeros(0, 4)),
        scores=torch.zeros(0),
        pred_classes=torch.zeros(0, dtype=torch.int64),
    )
    evaluator.process([{"image_id": 11}], [{"instances": empty}])
    assert np.isnan(evaluator.evaluate()["segm"]["AP"])

"""The files around COCO's precision: what a hand-made one may lack, and the results written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Instances

from selfsam_d2.evaluation.coco import NucleiCOCOEvaluator
from selfsam_d2.structures.rle_masks import RLEMasks

NAME = "coco_files_test"
MAP = np.kron([[1, 0, 2], [0, 0, 0], [3, 0, 0]], np.ones((7, 5))).astype(np.int32)
BOXES = {1: [0, 0, 5, 7], 2: [10, 0, 5, 7], 3: [0, 14, 5, 7]}


@pytest.fixture
def register(tmp_path: Path) -> Any:
    """Function: changes to each annotation -> the dataset, its category is 7."""

    def run(**changes: Any) -> dict[str, Any]:
        height, width = MAP.shape
        annotations = [
            {"id": number, "image_id": 5, "category_id": 7, "segmentation": rle, **changes}
            for number, rle in enumerate(RLEMasks.from_instance_map(MAP).rles, start=1)
        ]
        image = {"id": 5, "file_name": "a.png", "height": height, "width": width}
        categories = [{"id": 7, "name": "nucleus"}]
        content = {"images": [image], "annotations": annotations, "categories": categories}
        path = tmp_path / "dataset.json"
        path.write_text(json.dumps(content))
        MetadataCatalog.get(NAME).set(
            json_file=str(path),
            thing_classes=["nucleus"],
            thing_dataset_id_to_contiguous_id={7: 0},
        )
        return content

    yield run
    MetadataCatalog.pop(NAME)


def predict(evaluator: NucleiCOCOEvaluator, instance_map: np.ndarray) -> Any:
    masks = RLEMasks.from_instance_map(instance_map)
    count = len(masks)
    instances = Instances(
        instance_map.shape,
        pred_masks=masks,
        scores=torch.linspace(0.9, 0.5, count),
        pred_classes=torch.zeros(count, dtype=torch.int64),
    )
    evaluator.reset()
    evaluator.process([{"image_id": 5}], [{"instances": instances}])
    return evaluator.evaluate()


def test_the_results_file_is_one_that_coco_reads(register: Any, tmp_path: Path) -> None:
    register()
    output = tmp_path / "results"
    assert predict(NucleiCOCOEvaluator(NAME, output), MAP)["segm"]["AP"] == pytest.approx(100)
    results = json.loads((output / "coco_instances_results.json").read_text())
    assert [each["bbox"] for each in results] == [BOXES[number] for number in (1, 2, 3)]
    assert [each["score"] for each in results] == pytest.approx([0.9, 0.7, 0.5])
    for number, each in enumerate(results, start=1):
        assert (each["image_id"], each["category_id"]) == (5, 7)
        assert np.array_equal(coco_mask.decode(each["segmentation"]), number == MAP)


@pytest.mark.parametrize("tasks", [("segm",), ("bbox",), ("segm", "bbox")])
def test_nothing_is_written_unless_asked(
    register: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: tuple[str, ...]
) -> None:
    register()
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    found = predict(NucleiCOCOEvaluator(NAME, tasks=tasks), MAP)
    assert {task: found[task]["AP"] for task in tasks} == pytest.approx(dict.fromkeys(tasks, 100))
    assert not list(folder.iterdir())


def test_without_any_nucleus_nothing_is_found(register: Any) -> None:
    register()
    assert np.isnan(predict(NucleiCOCOEvaluator(NAME), np.zeros_like(MAP))["segm"]["AP"])


@pytest.mark.parametrize(
    "changes",
    [{}, {"bbox": []}, {"bbox": [], "area": 1}, {"bbox": [1, 2, 3, 4]}, {"iscrowd": 1}],
    ids=["all", "an empty box", "the box", "the area", "no box and no area, a crowd"],
)
def test_what_a_hand_made_annotation_lacks_is_added(register: Any, changes: dict[str, Any]) -> None:
    content = register(**changes)
    evaluator = NucleiCOCOEvaluator(NAME)
    for number in BOXES:
        found = evaluator._coco_api.anns[number]
        assert found["iscrowd"] == changes.get("iscrowd", 0)
        assert found["bbox"] == (changes.get("bbox") or BOXES[number])
        assert found["area"] == changes.get("area", 35)
        assert found["segmentation"] == content["annotations"][number - 1]["segmentation"]
    assert evaluator._coco_api.dataset["categories"] == [{"id": 7, "name": "nucleus"}]


def test_given_boxes_and_areas_stay(register: Any) -> None:
    register(bbox=[1, 2, 3, 4], area=12)
    evaluator = NucleiCOCOEvaluator(NAME)
    assert [each["bbox"] for each in evaluator._coco_api.anns.values()] == [[1, 2, 3, 4]] * 3
    assert [each["area"] for each in evaluator._coco_api.anns.values()] == [12] * 3

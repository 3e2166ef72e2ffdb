"""Which images a report shows, and whether kept predictions are those of the metrics."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.data_checks import load_records
from selfsam_d2.engine.finished_run import FinishedRun, RunLog, read_run
from selfsam_d2.engine.run_images import choose_images, kept_images
from selfsam_d2.engine.setup import load_config
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.structures.annotation_masks import annotations_to_map
from selfsam_d2.structures.rle_masks import RLEMasks


def by_aji(**values):
    return {name: {"AJI": value, "Dice": 0.0} for name, value in values.items()}


@pytest.mark.parametrize(
    ("images", "chosen"),
    [
        (by_aji(a=0.2, b=0.9, c=0.5), {"best": "b", "median": "c", "worst": "a"}),
        (by_aji(a=0.2, b=0.9, c=0.5, d=0.6), {"best": "b", "median": "c", "worst": "a"}),
        (by_aji(a=0.2, b=0.9), {"best": "b", "worst": "a"}),
        (by_aji(a=0.2, b=None), {"best": "a"}),
        (by_aji(a=None), {}),
    ],
)
def test_best_median_and_worst(images, chosen):
    assert choose_images(images) == chosen


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    split = write_synthetic_dataset(folder, seed=0, train=1, val=2, size=64)["val"]
    register_nuclei_instances("run_images_val", split.json_file, split.image_root)
    return "run_images_val"


@pytest.fixture
def evaluated(dataset, tmp_path):
    """A run whose predictions are the truth without the nuclei of the smallest ids."""
    cfg = load_config("", ["MODEL.META_ARCHITECTURE", "SelfSAM"])
    cfg.DATASETS.TEST = (dataset,)
    images, results = {}, []
    for record in load_records([dataset]):
        true = annotations_to_map(record["annotations"], record["height"], record["width"])
        pred = np.where(true > 2, true, 0)
        images[record["file_name"].split("/")[-1][:-4]] = nuclei_metrics(true, pred)
        results += [
            {"image_id": record["image_id"], "score": 0.5, "segmentation": rle}
            for rle in RLEMasks.from_instance_map(pred).rles
        ]
    (tmp_path / "inference").mkdir()
    path = tmp_path / "inference" / "coco_instances_results.json"
    path.write_text(json.dumps(results))
    return FinishedRun(tmp_path, cfg, [], RunLog()), images, path


def test_kept_predictions_give_their_errors(evaluated, dataset):
    run, images, _ = evaluated
    name = next(iter(images))
    counts, found = kept_images(run, dataset, images, [name])
    assert set(counts) == set(images)
    assert set(found) == {name}
    assert {each["missed"] for each in counts.values()} == {2}
    assert found[name].metrics == images[name]
    assert Counter(found[name].kinds.true.values()) == Counter(
        missed=2, found=len(found[name].kinds.true) - 2
    )


def test_predictions_of_another_evaluation_are_not_shown(evaluated, dataset):
    run, images, path = evaluated
    name = next(iter(images))
    other = {**images, name: {**images[name], "AJI": images[name]["AJI"] - 0.01}}
    assert kept_images(run, dataset, other, [name]) == ({}, {})
    assert kept_images(run, dataset, {name: images[name]}, [name]) == ({}, {})
    boxes = [{"image_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}]
    path.write_text(json.dumps(boxes))
    assert kept_images(run, dataset, images, [name]) == ({}, {})
    path.unlink()
    assert kept_images(run, dataset, images, [name]) == ({}, {})


def test_log_is_read(tmp_path):
    (tmp_path / "config.yaml").write_text(load_config("", ["SOLVER.IMS_PER_BATCH", "2"]).dump())
    (tmp_path / "log.txt").write_text(
        "[11/28 02:20:07] t INFO: 30 images, 150 crops per epoch, 1500 steps, 10 epochs\n"
        "[11/28 02:31:25] e INFO: Total inference time: 0:00:06.873 (3.436866 s / iter per device"
        ", on 1 devices)\n[11/28] h INFO: Total training time: 1:00:01 (0:00:09 on hooks)\n"
        "x max_mem: 512M\ny max_mem: 2048M\n"
    )
    rows = [{"iteration": step, "total_loss": 1.0, "time": step / 10} for step in (74, 75, 149)]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, [*rows, {"iteration": 150}])))
    run = read_run(tmp_path)
    assert run.log == RunLog(150, [3.436866], ["1:00:01 (0:00:09 on hooks)"], 2048)
    assert run.steps == 150
    assert [run.epoch_of(row) for row in run.rows] == [0, 1, 1, 2]
    assert run.median("time") == 7.5
    assert run.median("data_time") is None

"""Two real processes at one evaluation: each image is counted once, and one writes the result."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from scipy import ndimage

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.processes import run_in_processes
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.evaluation.nuclei_evaluator import RESULTS_FILE, NucleiEvaluator
from selfsam_d2.structures.annotation_masks import annotations_to_map

CONFIG = str(Path(__file__).parents[2] / "configs" / "demo.yaml")
IMAGES = 5  # one process has three, the other two


class ErodedTruth(torch.nn.Module):
    """A model that knows the masks: each image's are eroded by another number of px."""

    def __init__(self, records):
        super().__init__()
        self.records = {record["image_id"]: record for record in records}
        self.seen = []

    def forward(self, inputs):
        maps = [self.predict(entry["image_id"]) for entry in inputs]
        return [{"instance_map": torch.from_numpy(each)} for each in maps]

    def predict(self, image_id):
        self.seen.append(image_id)
        record = self.records[image_id]
        true = annotations_to_map(record["annotations"], record["height"], record["width"])
        side = 3 + 2 * (list(self.records).index(image_id) % 2)
        same = ndimage.minimum_filter(true, side) == ndimage.maximum_filter(true, side)
        return true * same


def evaluate(name, json_file, image_root, folder):
    """In each process; what it saw and what came out is written into a folder of its own."""
    if name not in DatasetCatalog.list():
        register_nuclei_instances(name, json_file, image_root)
    folder = Path(folder) / str(comm.get_rank())
    folder.mkdir(parents=True)
    cfg = load_config(CONFIG, ["DATALOADER.NUM_WORKERS", "0"])
    model = ErodedTruth(DatasetCatalog.get(name))
    loader = SelfSAMTrainer.build_test_loader(cfg, name)
    scores = inference_on_dataset(model, loader, NucleiEvaluator(name, folder))
    # Detectron2 gives a rank without results an empty dict.
    report = {"processes": comm.get_world_size(), "seen": model.seen, "scores": scores}
    if comm.get_world_size() > 1:
        report["backend"] = torch.distributed.get_backend()
    (folder / "report.json").write_text(json.dumps(report))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Number of processes -> folder of each, with ``report.json``."""
    folder = tmp_path_factory.mktemp("shared")
    split = write_synthetic_dataset(folder / "data", seed=0, train=1, val=IMAGES, size=96)["val"]
    found = {}
    for count in (1, 2):
        place = folder / str(count)
        given = (f"shared_{folder.name}", str(split.json_file), str(split.image_root), str(place))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "device_count", lambda: 0)
            patch.setenv("CUDA_VISIBLE_DEVICES", "")
            run_in_processes(evaluate, count, given)
        found[count] = [place / str(rank) for rank in range(count)]
    return found


def reports(folders):
    return [json.loads((folder / "report.json").read_text()) for folder in folders]


def test_each_image_is_seen_by_one_process(evaluated):
    (alone,) = reports(evaluated[1])
    first, second = reports(evaluated[2])
    assert [each["processes"] for each in (alone, first, second)] == [1, 2, 2]
    assert first["backend"] == second["backend"] == "gloo"
    assert len(alone["seen"]) == len(set(alone["seen"])) == IMAGES
    assert sorted(first["seen"] + second["seen"]) == sorted(alone["seen"])
    assert len(first["seen"]) == 3


def test_two_processes_score_as_one(evaluated):
    (alone,) = reports(evaluated[1])
    first, second = reports(evaluated[2])
    assert first["scores"] == alone["scores"]
    assert second["scores"] == {}
    assert 0.3 < first["scores"]["nuclei"]["AJI"] < 0.99


def test_one_process_writes_each_image_once(evaluated):
    (alone,), (first, second) = evaluated[1], evaluated[2]
    assert not (second / RESULTS_FILE).exists()
    assert (first / RESULTS_FILE).read_text() == (alone / RESULTS_FILE).read_text()
    images = json.loads((first / RESULTS_FILE).read_text())["images"]
    assert len(images) == IMAGES
    # All differ, so that one that is counted twice, or another in its place, is seen in the mean.
    assert len({row["AJI"] for row in images.values()}) == IMAGES
    assert min(row["AJI"] for row in images.values()) > 0.2

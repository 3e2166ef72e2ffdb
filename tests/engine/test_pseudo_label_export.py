"""What is exported is what the training learns from, and any model can be trained on it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image
from pycocotools import mask as coco_mask

from selfsam_d2.data.coco_json import load_coco_json, write_coco_json
from selfsam_d2.data.images import read_image
from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.data.mask_mapper import MaskDatasetMapper
from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.data_checks import load_records
from selfsam_d2.engine.pseudo_label_export import ExportedLabels, export_labels, image_root_of
from selfsam_d2.engine.setup import load_config
from selfsam_d2.modeling.weights import load_weights
from selfsam_d2.modeling.window_labels import label_image
from selfsam_d2.structures.annotation_masks import annotations_to_map
from selfsam_d2.structures.labels import IGNORE

CONFIG = str(Path(__file__).parents[2] / "configs" / "demo.yaml")
NAME = "export_test"
# Labels with nuclei, background and ignored pixels.
KEYS = ("PSEUDO_LABEL.ENTROPY_THRESHOLD", "0.2", "INPUT.NUCLEI.SHIFT", "3.0")


@pytest.fixture(scope="module")
def exported(dataset, small_keys, tmp_path_factory):
    """(records, what label_image gives for each, the points, the export, where it was written)."""
    register_nuclei_instances(NAME, dataset["train"].json_file, dataset["train"].image_root)
    cfg = load_config(CONFIG, [*small_keys, *KEYS])
    model, mapper = build_model(cfg).eval(), PointPromptDatasetMapper(cfg)
    load_weights(model, "mobile_sam")
    model.consensus = False
    settings = {"window": 64, "overlap": 16}
    records = load_records([NAME])
    records[0]["microns_per_pixel"] = 0.5
    labels = [
        label_image(
            model,
            torch.from_numpy(read_image(record["file_name"]).transpose(2, 0, 1).copy()),
            torch.from_numpy(mapper.points(record)),
            image_id=record["image_id"],
            **settings,
        )[0]["instance_label"]
        for record in records
    ]
    found = export_labels(model, records, mapper, image_root=image_root_of(NAME), **settings)
    path = tmp_path_factory.mktemp("export") / "labels.json"
    write_coco_json(path, found.coco("labels"))
    return records, labels, [mapper.points(each) for each in records], found, path


def test_masks_ids_and_points_are_those_of_the_labels(exported, dataset):
    records, labels, points, found, path = exported
    loaded = load_coco_json(path, dataset["train"].image_root)
    assert [each["image_id"] for each in loaded] == [each["image_id"] for each in records]
    assert [each["file_name"] for each in loaded] == [each["file_name"] for each in records]
    assert [each.get("microns_per_pixel") for each in loaded] == [0.5, None]
    nuclei = 0
    for record, expected, where, again in zip(records, labels, points, loaded, strict=True):
        ids = [each["id"] for each in record["annotations"]]
        assert (expected == IGNORE).any()
        painted = annotations_to_map(again["annotations"], *expected.shape)
        assert np.array_equal(painted == IGNORE, expected == IGNORE)
        for annotation in again["annotations"]:
            mask = coco_mask.decode(annotation["segmentation"]).astype(bool)
            if annotation["iscrowd"]:
                assert np.array_equal(mask, expected == IGNORE)
                assert annotation["id"] not in ids
                continue
            index = ids.index(annotation["id"])
            assert np.array_equal(mask, expected == index + 1)
            assert annotation["point"] == where[index].tolist()
            x, y, width, height = map(int, annotation["bbox"])
            assert mask[y : y + height, x : x + width].sum() == mask.sum() > 0
            nuclei += 1
    assert nuclei == found.nuclei > 10


def test_the_counts_are_said(exported):
    records, labels, points, found, _ = exported
    present = sum(len(np.unique(each[each > 0])) for each in labels)
    absent = {
        record["annotations"][index]["id"]
        for record, each in zip(records, labels, strict=True)
        for index in range(len(record["annotations"]))
        if not (each == index + 1).any()
    }
    assert found.nuclei == present
    assert set(found.left_out) == absent
    assert found.nuclei + len(absent) == sum(map(len, points))
    ignored = sum((each == IGNORE).sum() for each in labels)
    assert found.ignored_pixels == ignored
    share = ignored / sum(each.size for each in labels)
    assert f"{len(absent)} left out, {share:.1%} of the pixels ignored" in found.summary()


def test_a_nucleus_without_a_pixel_is_left_out(exported, monkeypatch):
    records, labels, *_ = exported

    def without_the_first(*arguments, **settings):
        label = labels[0].copy()
        label[label == 1] = 0
        return {"instance_label": label}, {}

    monkeypatch.setattr("selfsam_d2.engine.pseudo_label_export.label_image", without_the_first)
    record = records[0]

    class Mapper:
        def points(self, _):
            return np.array([each["point"] for each in record["annotations"]])

    root = records[0]["file_name"].rsplit("/", 1)[0]
    found = export_labels(
        torch.nn.Module(), [record], Mapper(), image_root=root, window=64, overlap=16
    )
    first = record["annotations"][0]["id"]
    assert first in found.left_out
    assert first not in {each["id"] for each in found.annotations}


def test_background_of_a_crowd_region_stays_unknown(tmp_path, monkeypatch):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    label = np.zeros((30, 40), dtype=np.int32)
    label[5:10, 15:25] = 1
    area = np.zeros((30, 40), dtype=np.uint8, order="F")
    area[:, 20:] = 1
    nucleus = {"id": 3, "point": [18.0, 7.0]}
    crowd = {"id": 4, "iscrowd": 1, "segmentation": coco_mask.encode(area)}
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 1, "height": 30, "width": 40}
    record["annotations"] = [nucleus, crowd]

    def given(*arguments, **settings):
        return {"instance_label": label}, {}

    monkeypatch.setattr("selfsam_d2.engine.pseudo_label_export.label_image", given)
    found = export_labels(
        torch.nn.Module(),
        [record],
        PointPromptDatasetMapper(),
        image_root=tmp_path,
        window=64,
        overlap=16,
    )
    masks = {each["id"]: coco_mask.decode(each["segmentation"]) for each in found.annotations}
    assert sorted(masks) == [3, 5]
    assert np.array_equal(masks[3], label)
    assert np.array_equal(masks[5], area * (label == 0))


def test_the_labels_can_be_trained_on(exported, dataset):
    _, labels, _, _, path = exported
    record = load_coco_json(path, dataset["train"].image_root)[0]
    still = {"scale": (1.0, 1.0), "shear": 0.0, "rotation": 0.0, "flip": 0.0}
    mapper = MaskDatasetMapper(target="instance_label", crop=128, side=128, **still)
    target = mapper({**record, "position": 0})["instance_label"].numpy()
    expected = labels[0]
    assert np.array_equal(target == IGNORE, expected == IGNORE)
    assert np.array_equal(target > 0, expected > 0)


def test_nothing_labelled_is_no_division_by_zero():
    assert "0 images, 0 of 0 nuclei" in ExportedLabels().summary()

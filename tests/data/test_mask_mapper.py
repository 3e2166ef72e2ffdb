"""Crops with targets made of masks: geometry, each target, what is ignored, the stock mapper."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from PIL import Image

from selfsam_d2.data.coco_json import coco_from_instance_maps, load_coco_json, write_coco_json
from selfsam_d2.data.mapper import ImageDatasetMapper
from selfsam_d2.data.mask_mapper import MaskDatasetMapper, instances_of_map
from selfsam_d2.structures.labels import IGNORE

SIDE = 96
STILL = {"scale": (1.0, 1.0), "shear": 0.0, "rotation": 0.0, "flip": 0.0}
FILL = (10, 20, 30)


@pytest.fixture
def truth():
    """A map of 25 nuclei, each of a colour of its own."""
    instance_map = np.zeros((SIDE, SIDE), np.int32)
    for index, (row, column) in enumerate(np.ndindex(5, 5), start=1):
        top, left = 4 + 18 * row, 6 + 18 * column
        instance_map[top : top + 11, left : left + 9 + row] = index
    return instance_map


@pytest.fixture
def record(tmp_path, truth):
    """The nuclei of ``truth`` painted in shades of their ids; the record of the image."""
    shades = np.where(truth > 0, 5 + 10 * truth, 0).astype(np.uint8)
    Image.fromarray(np.stack([shades] * 3, axis=-1)).save(tmp_path / "slide.png")
    write_coco_json(tmp_path / "slide.json", coco_from_instance_maps([("slide.png", truth)]))
    (record,) = load_coco_json(tmp_path / "slide.json", tmp_path)
    return {**record, "position": 3, "epoch": 0}


def build(target, crop=48, side=48, **settings):
    return MaskDatasetMapper(target=target, crop=crop, side=side, fill=FILL, **settings)


def test_labels_follow_the_image_through_every_augmentation(record):
    for position in range(6):
        sample = build("instance_label")({**record, "position": position})
        image, labels = sample["image"][0].int(), sample["instance_label"]
        inside = labels > 0
        assert inside.any()
        # Away from borders, where colours mix, the shade of the image tells the id.
        expected = 5 + 10 * labels
        pure = inside & (image == expected)
        assert pure.sum() > 0.5 * inside.sum()
        wrong = inside & ((image - expected).abs() > 10)
        assert wrong.sum() < 0.3 * inside.sum()


def test_an_enlarged_crop_is_what_the_whole_image_looks_like_enlarged(record, truth):
    sample = build("instance_label", crop=SIDE, side=2 * SIDE, **STILL)(record)
    whole = ImageDatasetMapper(scale=2.0)(record)
    assert sample["image"].shape == (3, 2 * SIDE, 2 * SIDE)
    assert torch.equal(sample["image"], whole["image"])
    assert (whole["height"], whole["width"]) == (SIDE, SIDE)
    enlarged = np.kron(truth, np.ones((2, 2), np.int32))
    assert np.array_equal(sample["instance_label"].numpy(), enlarged)


def test_instances_are_the_nuclei_of_the_label_map(record):
    labels = build("instance_label")(record)["instance_label"]
    sample = build("instances")(record)
    instances = sample["instances"]
    ids = labels[labels > 0].unique()
    assert len(instances) == len(ids) > 3
    assert instances.image_size == (48, 48)
    assert set(instances.gt_classes.tolist()) == {0}
    assert torch.equal(instances.gt_masks.tensor, labels == ids[:, None, None])
    assert torch.equal(instances.gt_boxes.tensor, instances.gt_masks.get_bounding_boxes().tensor)
    without = build("instances", with_masks=False)(record)["instances"]
    assert not without.has("gt_masks")
    assert torch.equal(without.gt_boxes.tensor, instances.gt_boxes.tensor)


def test_a_crop_without_a_nucleus_has_empty_instances():
    instances = instances_of_map(np.zeros((8, 9), np.int32))
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_masks.tensor.shape == (0, 8, 9)


def test_what_lies_beyond_the_image_is_ignored_or_painted(record):
    # A crop larger than the image reaches beyond it on all sides.
    crop = SIDE + 40
    labels = build("instance_label", crop, crop, **STILL)(record)["instance_label"]
    beyond = torch.ones(crop, crop, dtype=torch.bool)
    beyond[20:-20, 20:-20] = False
    assert torch.equal(labels == IGNORE, beyond)
    semantic = build("sem_seg", crop, crop, ignore_value=255, **STILL)(record)["sem_seg"]
    assert torch.equal(semantic == 255, beyond)
    assert torch.equal(semantic == 1, labels > 0)
    image = build("instances", crop, crop, **STILL)(record)["image"]
    assert torch.equal(image[:, beyond].unique(dim=1), torch.tensor(FILL).byte()[:, None])


def test_crowd_regions_are_ignored(record, truth):
    record["annotations"][6].update(iscrowd=1)
    labels = build("instance_label", SIDE, SIDE, **STILL)(record)["instance_label"].numpy()
    assert np.array_equal(labels == IGNORE, truth == 7)
    assert len(build("instances", SIDE, SIDE, **STILL)(record)["instances"]) == 24


def test_a_crop_depends_on_seed_and_position_only(record):
    mapper = build("instance_label", color=0.1)
    first, again = mapper(record), build("instance_label", color=0.1)(record)
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["instance_label"], again["instance_label"])
    assert not torch.equal(first["image"], mapper({**record, "position": 4})["image"])
    reseeded = build("instance_label", color=0.1, seed=1)(record)
    assert not torch.equal(first["image"], reseeded["image"])


def test_an_unknown_target_is_named():
    with pytest.raises(ValueError, match=r"`target` to be one of .* but got 'boxes'"):
        build("boxes")


def test_detectron2s_own_mapper_takes_the_records(record, truth):
    cfg = get_cfg()
    cfg.MODEL.MASK_ON, cfg.INPUT.MASK_FORMAT = True, "bitmask"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (SIDE,), "none"
    instances = DatasetMapper(cfg, is_train=True)(record)["instances"]
    expected = instances_of_map(truth)
    assert torch.equal(instances.gt_masks.tensor, expected.gt_masks.tensor)
    assert torch.equal(instances.gt_boxes.tensor, expected.gt_boxes.tensor)

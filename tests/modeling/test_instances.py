"""Detectron2 instances of an instance map."""

import numpy as np
import pytest
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes
from pycocotools import mask as coco_mask

from selfsam_d2.modeling.instances import instance_scores, instances_from_map
from selfsam_d2.structures.rle_masks import RLEMasks


def example(seed=0, size=(30, 40), ids=(-1, 0, 3, 4, 11)):
    generator = np.random.default_rng(seed)
    blocks = generator.choice(ids, (size[0] // 5, size[1] // 5)).astype(np.int32)
    return np.kron(blocks, np.ones((5, 5), np.int32)), generator.random(size).astype(np.float32)


def present(instance_map):
    return [k for k in np.unique(instance_map) if k > 0]


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_the_mean_inside(seed):
    instance_map, foreground = example(seed)
    expected = [foreground[instance_map == k].mean() for k in present(instance_map)]
    scores = instance_scores(foreground, instance_map)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_fields_agree_with_the_map(seed):
    instance_map, foreground = example(seed)
    instances = instances_from_map(instance_map, foreground)
    assert instances.image_size == instance_map.shape
    assert len(instances) == len(present(instance_map)) == 3
    assert isinstance(instances.pred_masks, RLEMasks)
    assert isinstance(instances.pred_boxes, Boxes)
    assert instances.pred_classes.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(instances.scores, instance_scores(foreground, instance_map))
    for position, k in enumerate(present(instance_map)):
        rows, columns = np.nonzero(instance_map == k)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert instances.pred_boxes.tensor[position].tolist() == box
        np.testing.assert_array_equal(instances.pred_masks[position], instance_map == k)


def test_detectron2_writes_them_as_coco_results():
    instance_map, foreground = example()
    results = instances_to_coco_json(instances_from_map(instance_map, foreground), img_id=7)
    assert len(results) == 3
    for result, k in zip(results, present(instance_map), strict=True):
        np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), instance_map == k)


def test_no_nuclei():
    instances = instances_from_map(np.zeros((8, 9), np.int32), np.ones((8, 9), np.float32))
    assert len(instances) == 0
    assert instances.pred_boxes.tensor.shape == (0, 4)
    assert instances.image_size == (8, 9)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="foreground"):
        instance_scores(np.ones((8, 9), np.float32), np.zeros((9, 8), np.int32))
    with pytest.raises(ValueError, match="instance_map"):
        instances_from_map(np.zeros((1, 8, 9), np.int32), np.ones((1, 8, 9), np.float32))

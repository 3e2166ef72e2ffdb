"""Painting of annotations and predictions into instance maps."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import torch
from detectron2.structures import Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfsam_d2.evaluation.instance_maps import instances_to_map, results_to_map
from selfsam_d2.structures.annotation_masks import annotation_to_rle, annotations_to_map
from selfsam_d2.structures.rle_masks import RLEMasks

H, W = 6, 7

stacks = st.integers(1, 5).flatmap(lambda n: arrays(np.bool_, (n, H, W)))


def encode(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


@settings(deadline=None, max_examples=50)
@given(stacks, st.data())
def test_annotations_are_painted_as_by_a_loop(stack, data):
    crowd = data.draw(st.lists(st.integers(0, 1), min_size=len(stack), max_size=len(stack)))
    annotations = [
        {"segmentation": encode(mask), "iscrowd": flag}
        for mask, flag in zip(stack, crowd, strict=True)
    ]
    expected = np.zeros((H, W), dtype=np.int32)
    for row, column in np.ndindex(H, W):
        covering = [k for k in range(len(stack)) if stack[k, row, column]]
        nuclei = [k for k in covering if not crowd[k]]
        expected[row, column] = nuclei[0] + 1 if nuclei else -1 if covering else 0
    np.testing.assert_array_equal(annotations_to_map(annotations, H, W), expected)


@settings(deadline=None, max_examples=50)
@given(stacks, st.data())
def test_predictions_are_painted_by_score(stack, data):
    levels = st.sampled_from([0.2, 0.5, 0.9])
    scores = data.draw(st.lists(levels, min_size=len(stack), max_size=len(stack)))
    order = sorted(range(len(stack)), key=lambda k: (-scores[k], k))
    expected = np.zeros((H, W), dtype=np.int32)
    for row, column in np.ndindex(H, W):
        covering = [place for place, k in enumerate(order) if stack[k, row, column]]
        expected[row, column] = covering[0] + 1 if covering else 0
    for masks in (torch.from_numpy(stack), RLEMasks([encode(mask) for mask in stack], H, W)):
        instances = Instances((H, W), pred_masks=masks, scores=torch.tensor(scores))
        np.testing.assert_array_equal(instances_to_map(instances), expected)


def test_no_annotation_and_no_prediction_give_an_empty_map():
    assert not annotations_to_map([], H, W).any()
    none = torch.zeros(0, H, W, dtype=torch.bool)
    instances = Instances((H, W), pred_masks=none, scores=torch.zeros(0))
    assert instances_to_map(instances).shape == (H, W)
    assert not instances_to_map(instances).any()


def test_all_forms_of_a_mask_are_the_same():
    expected = np.zeros((H, W), dtype=bool)
    expected[1:3, 2:5] = True
    expected[4:6, 0:2] = True
    runs = [4, 2, 4, 2, 1, 2, 4, 2, 4, 2, 15]
    forms = [
        [rectangle(2, 1, 5, 3), rectangle(0, 4, 2, 6)],
        encode(expected),
        {"size": [H, W], "counts": encode(expected)["counts"].decode()},
        {"size": [H, W], "counts": runs},
    ]
    for form in forms:
        np.testing.assert_array_equal(coco_mask.decode(annotation_to_rle(form, H, W)), expected)


@pytest.mark.parametrize("polygons", [[], [[1, 1, 4, 4]], [[1, 1, 4, 4, 1, 4, 2]]])
def test_bad_polygons(polygons):
    with pytest.raises(ValueError, match="at least 3 points"):
        annotation_to_rle(polygons, H, W)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"counts": [42]}, "`size` and `counts`"),
        ({"size": [H, W], "counts": [40, 1]}, "sum to 42, but got 41"),
        ({"size": [H, W], "counts": [43, -1]}, "sum to 42"),
        ({"size": [W, H], "counts": [42]}, "6 x 7 pixels"),
    ],
)
def test_bad_run_lengths(rle, message):
    with pytest.raises(ValueError, match=message):
        annotation_to_rle(rle, H, W)


def test_bad_sizes_and_missing_masks():
    with pytest.raises(ValueError, match="7 x 7 pixels"):
        annotations_to_map([{"segmentation": encode(np.ones((H, W)))}], 7, 7)
    with pytest.raises(ValueError, match="`pred_masks`"):
        instances_to_map(Instances((H, W), scores=torch.zeros(0)))


@settings(deadline=None, max_examples=50)
@given(stacks, st.data())
def test_results_of_coco_evaluators_are_painted_as_predictions_are(stack, data):
    scores = data.draw(
        st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=len(stack), max_size=len(stack))
    )
    instances = Instances((H, W))
    instances.pred_masks = torch.from_numpy(stack)
    instances.scores = torch.tensor(scores, dtype=torch.float64)
    rles = RLEMasks([encode(mask) for mask in stack], H, W).rles
    results = [
        {"segmentation": rle, "score": score} for rle, score in zip(rles, scores, strict=True)
    ]
    for least in (0.0, 0.5):
        expected = instances_to_map(instances[instances.scores >= least])
        np.testing.assert_array_equal(results_to_map(results, H, W, least), expected)

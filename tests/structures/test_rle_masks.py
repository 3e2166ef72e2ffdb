"""Run-length masks against dense masks, alone and inside detectron2."""

from __future__ import annotations

import json

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import torch
from detectron2.data import Metadata
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.visualizer import ColorMode, Visualizer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from selfsam_d2.structures.rle_masks import RLEMasks, crop_to_rle

MAP = np.array(
    [
        [7, 7, 0, 0, 3, 0],
        [7, 0, 0, 3, 3, 0],
        [0, 0, -1, 3, 0, 9],
        [7, 0, -1, 0, 9, 9],
    ],
    dtype=np.int32,
)

instance_maps = arrays(
    np.int32,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.sampled_from([-1, 0, 0, 2, 3, 40]),
)


def dense(instance_map: np.ndarray) -> np.ndarray:
    ids = [value for value in np.unique(instance_map) if value > 0]
    masks = [instance_map == value for value in ids]
    return np.stack(masks) if masks else np.zeros((0, *instance_map.shape), dtype=bool)


def make_instances(masks: RLEMasks) -> Instances:
    instances = Instances((masks.height, masks.width))
    instances.pred_masks = masks
    instances.pred_boxes = masks.bounding_boxes()
    instances.scores = torch.linspace(0.9, 0.1, len(masks))
    instances.pred_classes = torch.zeros(len(masks), dtype=torch.int64)
    return instances


@settings(deadline=None, max_examples=60)
@given(instance_maps)
def test_from_instance_map_equals_dense_masks(instance_map):
    masks = RLEMasks.from_instance_map(instance_map)
    expected = dense(instance_map)
    assert len(masks) == len(expected)
    for mask, truth in zip(masks, expected, strict=True):
        assert mask.dtype == torch.bool
        np.testing.assert_array_equal(mask.numpy(), truth)
    assert masks.area().tolist() == expected.sum(axis=(1, 2)).tolist()
    assert masks.area().dtype == torch.int64


@settings(deadline=None, max_examples=60)
@given(instance_maps)
def test_run_lengths_are_those_of_pycocotools(instance_map):
    masks = RLEMasks.from_instance_map(torch.from_numpy(instance_map))
    expected = [
        coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in dense(instance_map)
    ]
    assert [rle["counts"] for rle in masks.rles] == [rle["counts"].decode() for rle in expected]


@settings(deadline=None, max_examples=40)
@given(instance_maps)
def test_boxes_and_union_equal_detectron2s(instance_map):
    masks = RLEMasks.from_instance_map(instance_map)
    expected = dense(instance_map)
    truth = BitMasks(torch.from_numpy(expected)).get_bounding_boxes().tensor
    assert isinstance(masks.bounding_boxes(), Boxes)
    torch.testing.assert_close(masks.bounding_boxes().tensor, truth)
    np.testing.assert_array_equal(masks.any(dim=0).numpy(), expected.any(axis=0))


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        (slice(1, None), [1, 2]),
        (slice(0, 0), []),
        ([2, 0], [2, 0]),
        ([True, False, True], [0, 2]),
        (torch.tensor([False, True, True]), [1, 2]),
        (torch.tensor([2, 2, -3]), [2, 2, 0]),
        (torch.tensor([], dtype=torch.int64), []),
        ([], []),
    ],
)
def test_index_of_many_gives_rle_masks(item, kept):
    chosen = RLEMasks.from_instance_map(MAP)[item]
    assert isinstance(chosen, RLEMasks)
    assert [mask.tolist() for mask in chosen] == [dense(MAP)[index].tolist() for index in kept]


@pytest.mark.parametrize("item", [1, -2, torch.tensor(1), np.int64(1)])
def test_index_of_one_gives_a_dense_mask(item):
    mask = RLEMasks.from_instance_map(MAP)[item]
    np.testing.assert_array_equal(mask.numpy(), MAP == 7)


@pytest.mark.parametrize("item", [3, -4, [True], [0.5], [[0, 1]], [3]])
def test_bad_index(item):
    with pytest.raises(IndexError):
        RLEMasks.from_instance_map(MAP)[item]


def test_cat_and_to_inside_instances():
    first = make_instances(RLEMasks.from_instance_map(MAP))
    second = make_instances(RLEMasks.from_instance_map(np.fliplr(MAP)))
    joined = Instances.cat([first, second]).to("cpu")
    assert len(joined) == 6
    assert joined.pred_masks.area().tolist() == [4, 4, 3, 4, 4, 3]
    assert joined[joined.scores > 0.5].pred_masks.area().tolist() == [4, 4]
    assert len(joined[1].pred_masks) == 1
    assert first.pred_masks.to(torch.device("cpu")) is first.pred_masks


def test_counts_may_be_bytes_text_or_lists_and_become_json():
    encoded = coco_mask.encode(np.asfortranarray(MAP == 3, dtype=np.uint8))
    text = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    runs = {"size": [4, 6], "counts": [13, 2, 1, 2, 6]}
    masks = RLEMasks([encoded, text, runs], 4, 6)
    for mask in masks:
        np.testing.assert_array_equal(mask.numpy(), MAP == 3)
    assert json.loads(json.dumps(masks.rles)) == masks.rles


def test_errors():
    masks = RLEMasks.from_instance_map(MAP)
    with pytest.raises(ValueError, match="5 x 6 pixels, but got \\[4, 6\\]"):
        RLEMasks(masks.rles, 5, 6)
    with pytest.raises(ValueError, match="4 x 6 pixels"):
        RLEMasks.cat([masks, RLEMasks.from_instance_map(MAP.T)])
    with pytest.raises(ValueError, match="at least one"):
        RLEMasks.cat([])
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        RLEMasks.from_instance_map(MAP[None])
    with pytest.raises(ValueError, match="`dim`"):
        masks.any(dim=1)


def test_detectron2_writes_the_same_results_as_for_dense_masks():
    sparse = make_instances(RLEMasks.from_instance_map(MAP))
    full = make_instances(RLEMasks.from_instance_map(MAP))
    full.pred_masks = torch.from_numpy(dense(MAP))
    assert instances_to_coco_json(sparse, 5) == instances_to_coco_json(full, 5)


@pytest.mark.parametrize("mode", [ColorMode.SEGMENTATION, ColorMode.IMAGE_BW])
def test_detectron2_draws_the_same_picture_as_for_dense_masks(mode):
    big = np.kron(np.maximum(MAP, 0), np.ones((8, 8), dtype=np.int32))
    pictures = []
    for masks in (RLEMasks.from_instance_map(big), torch.from_numpy(dense(big))):
        instances = make_instances(RLEMasks.from_instance_map(big))
        instances.pred_masks = masks
        metadata = Metadata(thing_classes=["nucleus"], thing_colors=[(220, 20, 60)])
        image = np.full((*big.shape, 3), 128, dtype=np.uint8)
        np.random.seed(0)  # noqa: NPY002 (detectron2 jitters colours with the global generator)
        drawing = Visualizer(image, metadata, instance_mode=mode)
        pictures.append(drawing.draw_instance_predictions(instances).get_image())
    assert (pictures[0] != 128).any()
    np.testing.assert_array_equal(pictures[0], pictures[1])


@settings(deadline=None, max_examples=60)
@given(
    arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=6)).filter(np.any),
    st.tuples(*[st.integers(0, 3)] * 4),
)
def test_the_run_lengths_of_a_crop_are_those_of_the_image(mask, around):
    top, bottom, left, right = around
    image = np.pad(mask, ((top, bottom), (left, right)))
    found = crop_to_rle(mask, left, top, *image.shape)
    expected = coco_mask.encode(np.asfortranarray(image.astype(np.uint8)))
    assert found == {"size": list(image.shape), "counts": expected["counts"].decode()}


def test_run_lengths_of_a_large_image_need_no_memory_of_its_size():
    rle = crop_to_rle(np.ones((3, 2), dtype=bool), 60_000, 50_000, 65_535, 65_537)
    assert coco_mask.area(rle) == 6
    assert coco_mask.toBbox(rle).tolist() == [60_000, 50_000, 2, 3]
    with pytest.raises(ValueError, match="at most 4294967295 px"):
        crop_to_rle(np.ones((3, 2), dtype=bool), 0, 0, 65_536, 65_536)

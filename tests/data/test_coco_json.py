"""COCO JSON: building from instance maps, loading, and every check."""

from __future__ import annotations

import os

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as mask_util
from pycocotools.coco import COCO

from selfsam_d2.data.coco_json import (
    coco_from_instance_maps,
    load_coco_json,
    write_coco_json,
)
from selfsam_d2.errors import InputError
from selfsam_d2.structures.annotation_masks import annotation_to_rle
from selfsam_d2.structures.centre import nucleus_centre

HEIGHT, WIDTH = 12, 17


def load(folder, coco, **options):
    write_coco_json(folder / "nuclei.json", coco)
    return load_coco_json(folder / "nuclei.json", folder, **options)


@settings(deadline=None, max_examples=60)
@given(
    arrays(
        np.int32,
        st.tuples(st.integers(1, 8), st.integers(1, 8)),
        elements=st.sampled_from([0, 0, 1, 2, 50]),
    )
)
def test_masks_agree_with_pycocotools_on_the_whole_image(instance_map):
    coco = coco_from_instance_maps([("a.png", instance_map)])
    ids = sorted(set(instance_map[instance_map > 0].tolist()))
    assert [each["id"] for each in coco["annotations"]] == list(range(1, len(ids) + 1))
    for annotation, nucleus in zip(coco["annotations"], ids, strict=True):
        mask = np.asfortranarray(instance_map == nucleus, dtype=np.uint8)
        rle = mask_util.encode(mask)
        assert annotation["segmentation"]["counts"] == rle["counts"].decode()
        assert annotation["segmentation"]["size"] == list(mask.shape)
        assert annotation["bbox"] == mask_util.toBbox(rle).tolist()
        assert annotation["area"] == mask.sum()
        assert annotation["point"] == nucleus_centre(mask).tolist()
        assert (annotation["iscrowd"], annotation["category_id"]) == (0, 1)


def test_round_trip_to_the_same_maps(folder, instance_map, two_images):
    records = load(folder, two_images())
    assert [record["image_id"] for record in records] == [1, 2]
    ids = [each["id"] for record in records for each in record["annotations"]]
    assert ids == list(range(1, 9))
    for record, truth in zip(records, (instance_map, instance_map[::-1]), strict=True):
        assert (record["height"], record["width"]) == (HEIGHT, WIDTH)
        assert os.path.samefile(os.path.dirname(record["file_name"]), folder)
        rebuilt = np.zeros_like(truth)
        for nucleus, annotation in zip([4, 9, 11, 20], record["annotations"], strict=True):
            rebuilt += nucleus * mask_util.decode(annotation["segmentation"]).astype(np.int32)
            x, y = annotation["point"]
            assert truth[int(y), int(x)] == nucleus
            assert annotation["bbox_mode"] == BoxMode.XYWH_ABS
            assert (annotation["category_id"], annotation["iscrowd"]) == (0, 0)
        np.testing.assert_array_equal(rebuilt, truth)


def test_points_only_has_the_same_points_and_nothing_else(folder, two_images):
    with_masks = load(folder, two_images())
    points_only = load(folder, two_images(points_only=True))
    for full, bare in zip(with_masks, points_only, strict=True):
        assert [each["point"] for each in full["annotations"]] == [
            each["point"] for each in bare["annotations"]
        ]
        assert all(set(each) == {"id", "category_id", "point"} for each in bare["annotations"])


def test_pycocotools_reads_what_we_write(folder, instance_map, two_images):
    write_coco_json(folder / "new" / "deep" / "nuclei.json", two_images())
    coco = COCO(folder / "new" / "deep" / "nuclei.json")
    assert len(coco.getAnnIds(catIds=[1])) == 8
    np.testing.assert_array_equal(coco.annToMask(coco.anns[2]), instance_map == 9)


@pytest.mark.parametrize("centre", ["centroid", "box"])
@pytest.mark.parametrize("form", ["compressed", "counts", "polygon"])
@pytest.mark.parametrize(
    "polygon",
    [
        [[9.2, 2.0, 19.0, 2.6, 12.3, 11.8], [1.0, -3.0, 4.4, 1.2, 1.0, 2.0]],  # across borders
        [[5.3, 4.7, 11.1, 6.0, 9.9, 10.2, 5.0, 9.5]],  # away from all borders
    ],
)
def test_point_is_made_from_a_mask(folder, two_images, form, centre, polygon):
    coco = two_images()
    whole = mask_util.merge(mask_util.frPyObjects(polygon, HEIGHT, WIDTH))
    mask = mask_util.decode(whole)
    runs = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0))
    segmentation = {
        "compressed": {"size": [HEIGHT, WIDTH], "counts": whole["counts"].decode()},
        "counts": {
            "size": [HEIGHT, WIDTH],
            "counts": np.diff(runs, prepend=0, append=mask.size).tolist(),
        },
        "polygon": polygon,
    }[form]
    coco["annotations"] = [{"id": 5, "image_id": 2, "segmentation": segmentation}]
    first, second = load(folder, coco, centre=centre)
    assert first["annotations"] == []
    (annotation,) = second["annotations"]
    np.testing.assert_allclose(annotation["point"], nucleus_centre(mask, centre), rtol=1e-12)
    if form != "polygon":
        np.testing.assert_array_equal(mask_util.decode(annotation["segmentation"]), mask)


@pytest.mark.parametrize("form", ["rle", "polygon"])
def test_a_mask_without_a_box_gets_its_tight_one(folder, two_images, form):
    coco = two_images()
    (given,) = coco["annotations"][2:3]
    del given["bbox"]
    if form == "polygon":
        given["segmentation"] = [[3.0, 2.0, 9.0, 2.0, 9.0, 7.0, 3.0, 7.0]]
    found = load(folder, coco)[0]["annotations"][2]
    mask = annotation_to_rle(given["segmentation"], HEIGHT, WIDTH)
    assert found["bbox"] == mask_util.toBbox(mask).tolist()
    assert found["bbox"][2] > 0
    assert found["bbox_mode"] == BoxMode.XYWH_ABS


def test_a_given_point_is_kept_although_there_is_a_mask(folder, two_images):
    coco = two_images()
    coco["annotations"][0]["point"] = [16, 11.75]
    assert load(folder, coco)[0]["annotations"][0]["point"] == [16.0, 11.75]


def test_crowd_regions_keep_their_mask_and_have_no_point(folder, instance_map, two_images):
    coco = two_images()
    coco["annotations"][1]["iscrowd"] = 1
    crowd = load(folder, coco)[0]["annotations"][1]
    assert "point" not in crowd
    assert crowd["iscrowd"] == 1
    np.testing.assert_array_equal(mask_util.decode(crowd["segmentation"]), instance_map == 9)


def test_an_image_without_annotations_stays(folder, two_images):
    coco = two_images()
    coco["annotations"] = coco["annotations"][:1]
    assert [len(record["annotations"]) for record in load(folder, coco)] == [1, 0]


def test_writing_is_all_or_nothing(folder, two_images, monkeypatch):
    json_file = folder / "nuclei.json"
    write_coco_json(json_file, two_images())
    before = json_file.read_bytes()
    with pytest.raises(TypeError):
        write_coco_json(json_file, {"images": object()})
    assert json_file.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png", "nuclei.json"]
    with pytest.raises(InputError, match="cannot be written"):
        write_coco_json(json_file / "below" / "a.json", two_images())

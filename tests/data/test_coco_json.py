"""COCO JSON: building from instance maps, loading, and every check."""

from __future__ import annotations

import copy
import json
import os

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as mask_util
from pycocotools.coco import COCO

from selfsam_d2.data.coco_json import (
    annotation_from_mask,
    coco_from_instance_maps,
    load_coco_json,
    write_coco_json,
)
from selfsam_d2.errors import InputError
from selfsam_d2.structures.centre import nucleus_centre

HEIGHT, WIDTH = 12, 17
INSTANCE_MAP = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
INSTANCE_MAP[1:5, 2:6] = 4
INSTANCE_MAP[3:12, 10:17] = 9  # reaches two borders
INSTANCE_MAP[0, 0] = 11
INSTANCE_MAP[8:11, 1] = 20
INSTANCE_MAP[8, 3:6] = 20  # in two pieces


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 180)).save(tmp_path / name)
    return tmp_path


def two_images(points_only=False):
    items = [("a.png", INSTANCE_MAP), ("b.png", INSTANCE_MAP[::-1])]
    return coco_from_instance_maps(items, points_only=points_only)


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


def test_annotation_from_mask():
    mask = INSTANCE_MAP == 9
    annotation = annotation_from_mask(mask, 7, 3, centre="box")
    assert (annotation["id"], annotation["image_id"]) == (7, 3)
    assert annotation["point"] == [13.5, 7.5]
    assert annotation["bbox"] == [10.0, 3.0, 7.0, 9.0]
    np.testing.assert_array_equal(mask_util.decode(annotation["segmentation"]), mask)
    point_only = annotation_from_mask(mask, 7, 3, points_only=True)
    assert set(point_only) == {"id", "image_id", "category_id", "point"}
    with pytest.raises(ValueError, match="at least one nonzero"):
        annotation_from_mask(np.zeros((3, 3)), 1, 1)


def test_round_trip_to_the_same_maps(folder):
    records = load(folder, two_images())
    assert [record["image_id"] for record in records] == [1, 2]
    ids = [each["id"] for record in records for each in record["annotations"]]
    assert ids == list(range(1, 9))
    for record, truth in zip(records, (INSTANCE_MAP, INSTANCE_MAP[::-1]), strict=True):
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


def test_points_only_has_the_same_points_and_nothing_else(folder):
    with_masks = load(folder, two_images())
    points_only = load(folder, two_images(points_only=True))
    for full, bare in zip(with_masks, points_only, strict=True):
        assert [each["point"] for each in full["annotations"]] == [
            each["point"] for each in bare["annotations"]
        ]
        assert all(set(each) == {"id", "category_id", "point"} for each in bare["annotations"])


def test_pycocotools_reads_what_we_write(folder):
    write_coco_json(folder / "new" / "deep" / "nuclei.json", two_images())
    coco = COCO(folder / "new" / "deep" / "nuclei.json")
    assert len(coco.getAnnIds(catIds=[1])) == 8
    np.testing.assert_array_equal(coco.annToMask(coco.anns[2]), INSTANCE_MAP == 9)


@pytest.mark.parametrize("centre", ["centroid", "box"])
@pytest.mark.parametrize("form", ["compressed", "counts", "polygon"])
@pytest.mark.parametrize(
    "polygon",
    [
        [[9.2, 2.0, 19.0, 2.6, 12.3, 11.8], [1.0, -3.0, 4.4, 1.2, 1.0, 2.0]],  # across borders
        [[5.3, 4.7, 11.1, 6.0, 9.9, 10.2, 5.0, 9.5]],  # away from all borders
    ],
)
def test_point_is_made_from_a_mask(folder, form, centre, polygon):
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


def test_a_given_point_is_kept_although_there_is_a_mask(folder):
    coco = two_images()
    coco["annotations"][0]["point"] = [16, 11.75]
    assert load(folder, coco)[0]["annotations"][0]["point"] == [16.0, 11.75]


def test_crowd_regions_keep_their_mask_and_have_no_point(folder):
    coco = two_images()
    coco["annotations"][1]["iscrowd"] = 1
    crowd = load(folder, coco)[0]["annotations"][1]
    assert "point" not in crowd
    assert crowd["iscrowd"] == 1
    np.testing.assert_array_equal(mask_util.decode(crowd["segmentation"]), INSTANCE_MAP == 9)


def test_an_image_without_annotations_stays(folder):
    coco = two_images()
    coco["annotations"] = coco["annotations"][:1]
    assert [len(record["annotations"]) for record in load(folder, coco)] == [1, 0]


def first(coco):
    return coco["annotations"][0]


BAD_CONTENT = {
    "list at the top": (lambda coco: [coco], 'an object with a list "images"'),
    "no images": (lambda coco: coco.pop("images"), 'list "images"'),
    "no annotations": (lambda coco: coco.pop("annotations"), 'list "annotations"'),
    "annotations no objects": (lambda coco: coco["annotations"].append(3), '"annotations" must be'),
    "empty images": (lambda coco: coco.update(images=[], annotations=[]), "no images"),
    "no points": (lambda coco: coco.update(annotations=[]), "no points"),
    "only crowds": (
        lambda coco: [each.update(iscrowd=1) for each in coco["annotations"]] and None,
        "no points",
    ),
    "neither": (
        lambda coco: [first(coco).pop(key) for key in ("point", "segmentation")] and None,
        'annotation 1: has neither "point"',
    ),
    "empty segmentation": (
        lambda coco: first(coco).update(point=None, segmentation=[]),
        'annotation 1: has neither "point"',
    ),
    "crowd without mask": (
        lambda coco: first(coco).update(iscrowd=1, segmentation=None),
        "annotation 1: is a crowd region",
    ),
    "x too large": (
        lambda coco: first(coco).update(point=[17, 3]),
        r"annotation 1: point \(17, 3\) is outside image a\.png, which is 17 x 12 pixels",
    ),
    "y too large": (lambda coco: first(coco).update(point=[3, 12.0]), "outside image a"),
    "x negative": (lambda coco: first(coco).update(point=[-0.1, 3]), "outside image a"),
    "y negative": (lambda coco: first(coco).update(point=[3, -1e-9]), "outside image a"),
    "not a number": (lambda coco: first(coco).update(point=[float("nan"), 3]), "two numbers"),
    "huge": (lambda coco: first(coco).update(point=[10**400, 3]), "two numbers"),
    "text": (lambda coco: first(coco).update(point=["3", 3]), "two numbers"),
    "three numbers": (lambda coco: first(coco).update(point=[3, 3, 3]), "two numbers"),
    "unknown image": (lambda coco: first(coco).update(image_id=77), "annotation 1: is of image 77"),
    "no image id": (lambda coco: first(coco).pop("image_id") and None, "is of image None"),
    "same annotation id": (
        lambda coco: first(coco).update(id=8),
        "annotation id 8 is there twice",
    ),
    "no annotation id": (lambda coco: first(coco).pop("id") and None, 'whole number "id"'),
    "same image id": (lambda coco: coco["images"][0].update(id=2), "image id 2 is there twice"),
    "same file": (
        lambda coco: coco["images"][1].update(file_name="a.png"),
        r"image a\.png is there twice",
    ),
    "no height": (lambda coco: coco["images"][0].pop("height") and None, 'needs "height"'),
    "no file name": (lambda coco: coco["images"][0].pop("file_name") and None, '"file_name"'),
    "bad bbox": (lambda coco: first(coco).update(bbox=[1, 2, 3]), '"bbox" must be four'),
    "odd polygon": (
        lambda coco: first(coco).update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]),
        "annotation 1: a polygon is",
    ),
    "far polygon": (
        lambda coco: first(coco).update(segmentation=[[1, 2, 3, 4, 5, 1e12]]),
        "annotation 1: a polygon is",
    ),
    "empty mask": (
        lambda coco: first(coco).update(point=None, segmentation=[[50, 50, 60, 50, 60, 60]]),
        "annotation 1: mask has no pixel",
    ),
    "RLE of another size": (
        lambda coco: first(coco)["segmentation"].update(size=[WIDTH, HEIGHT]),
        r"annotation 1: segmentation has size \[17, 12\], its image \[12, 17\]",
    ),
    "RLE too long": (
        lambda coco: first(coco)["segmentation"].update(counts=[3, 4]),
        "RLE counts must .* 204",
    ),
    "RLE damaged": (
        lambda coco: first(coco)["segmentation"].update(counts="T`U:<gn07F8N3"),
        "annotation 1: .*RLE counts",
    ),
    "RLE no text": (lambda coco: first(coco)["segmentation"].update(counts=3), "neither text"),
    "segmentation text": (lambda coco: first(coco).update(segmentation="x"), "neither a list"),
}


@pytest.mark.parametrize("case", BAD_CONTENT)
def test_bad_content_is_one_line(folder, case):
    spoil, problem = BAD_CONTENT[case]
    coco = copy.deepcopy(two_images())
    replaced = spoil(coco)
    content = replaced if case == "list at the top" else coco
    (folder / "nuclei.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=problem) as caught:
        load_coco_json(folder / "nuclei.json", folder)
    assert str(caught.value).startswith(str(folder / "nuclei.json"))
    assert "\n" not in str(caught.value)


def test_bad_files(folder):
    json_file = folder / "nuclei.json"
    with pytest.raises(InputError, match=r"nuclei\.json: no such file"):
        load_coco_json(json_file, folder)
    json_file.write_text("{")
    with pytest.raises(InputError, match=r"nuclei\.json: is not JSON"):
        load_coco_json(json_file, folder)
    json_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"nuclei\.json: is not JSON"):
        load_coco_json(json_file, folder)
    write_coco_json(json_file, two_images())
    with pytest.raises(InputError, match="elsewhere: no such folder"):
        load_coco_json(json_file, folder / "elsewhere")
    Image.new("RGB", (HEIGHT, WIDTH)).save(folder / "b.png")
    with pytest.raises(InputError, match=r"b\.png: is 12 x 17 pixels .* says 17 x 12"):
        load_coco_json(json_file, folder)
    Image.new("L", (WIDTH, HEIGHT)).save(folder / "b.png")
    with pytest.raises(InputError, match=r"b\.png: grey image"):
        load_coco_json(json_file, folder)
    for name in ("a.png", "b.png"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"a\.png: no such file \(2 of 2 images"):
        load_coco_json(json_file, folder)


def test_writing_is_all_or_nothing(folder, monkeypatch):
    json_file = folder / "nuclei.json"
    write_coco_json(json_file, two_images())
    before = json_file.read_bytes()
    with pytest.raises(TypeError):
        write_coco_json(json_file, {"images": object()})
    assert json_file.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png", "nuclei.json"]
    with pytest.raises(InputError, match="cannot be written"):
        write_coco_json(json_file / "below" / "a.json", two_images())

"""Every check of a COCO JSON: one line that names the file and what is wrong."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from selfsam_d2.data.coco_json import load_coco_json, write_coco_json
from selfsam_d2.errors import InputError

HEIGHT, WIDTH = 12, 17


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
    **{
        f"resolution {value}": (
            lambda coco, value=value: coco["images"][1].update(microns_per_pixel=value),
            r'image b\.png: "microns_per_pixel" must be a number above 0',
        )
        for value in (0, -0.25, "0.25", True, [0.25], float("nan"), float("inf"), 10**400)
    },
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
def test_bad_content_is_one_line(folder, two_images, case):
    spoil, problem = BAD_CONTENT[case]
    coco = two_images()
    replaced = spoil(coco)
    content = replaced if case == "list at the top" else coco
    (folder / "nuclei.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=problem) as caught:
        load_coco_json(folder / "nuclei.json", folder)
    assert str(caught.value).startswith(str(folder / "nuclei.json"))
    assert "\n" not in str(caught.value)


LONG = "x" * 5000
LONG_VALUES = {
    "image": lambda coco: coco["images"][0].update(id=LONG),
    "name": lambda coco: coco["images"][0].update(file_name=LONG, height=0),
    "name twice": lambda coco: [each.update(file_name=LONG) for each in coco["images"]],
    "resolution": lambda coco: coco["images"][0].update(microns_per_pixel=LONG),
    "image id twice": lambda coco: [each.update(id=10**4000) for each in coco["images"]],
    "annotation": lambda coco: first(coco).update(id=LONG),
    "annotation id": lambda coco: first(coco).update(id=10**4000, point=None, segmentation=None),
    "annotation id twice": lambda coco: [e.update(id=10**4000) for e in coco["annotations"]],
    "image of an annotation": lambda coco: first(coco).update(image_id=LONG),
    "bbox": lambda coco: first(coco).update(bbox=LONG),
    "point": lambda coco: first(coco).update(point=LONG),
    "name of the image of a point": lambda coco: (
        [each.update(file_name=f"{each['id']}{LONG}") for each in coco["images"]],
        first(coco).update(point=[99, 99]),
    ),
    "size": lambda coco: first(coco).update(segmentation={"counts": "", "size": LONG}),
    "path": lambda coco: coco["images"][0].update(file_name=LONG),
}


@pytest.mark.parametrize("case", LONG_VALUES)
def test_what_the_file_holds_is_quoted_in_part(folder, two_images, case):
    coco = two_images()
    LONG_VALUES[case](coco)
    (folder / "nuclei.json").write_text(json.dumps(coco))
    with pytest.raises(InputError) as caught:
        load_coco_json(folder / "nuclei.json", folder)
    assert "nuclei.json" in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_a_mask_that_no_memory_holds_is_not_called_damaged_alone(folder, two_images, monkeypatch):
    def fails(*_):
        raise MemoryError

    coco = two_images()
    first(coco).pop("point")
    write_coco_json(folder / "nuclei.json", coco)
    monkeypatch.setattr("selfsam_d2.data.segmentations.mask_util.decode", fails)
    with pytest.raises(InputError, match=r"annotation 1: segmentation needs more memory than"):
        load_coco_json(folder / "nuclei.json", folder)


def test_bad_files(folder, two_images):
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

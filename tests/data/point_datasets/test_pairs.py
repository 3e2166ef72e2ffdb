"""Which file belongs to which image."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from selfsam_d2.data.point_datasets.output_file import INFO
from selfsam_d2.data.point_datasets.pairs import pair_images_and_points
from selfsam_d2.data.point_files.point_set import ReadOptions
from selfsam_d2.errors import InputError


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.tif", "c.1.png"):
        Image.new("RGB", (30, 20)).save(folder / name)
    return folder


@pytest.fixture
def points(tmp_path):
    folder = tmp_path / "points"
    folder.mkdir()
    return folder


def counts(pairs):
    return {stem: len(found.points) for stem, found in pairs.points.items()}


def test_by_the_name_of_the_file(images, points):
    (points / "a.csv").write_text("x,y\n1,2\n5,6\n")
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}
    (points / "b.tif.geojson").write_text(json.dumps([point]))
    (points / "c.1.csv").write_text("1,2\n3,4\n5,6\n")
    (points / "d.csv").write_text("x,y\n1,2\n")
    (points / "notes.md").write_text("not a point file")
    pairs = pair_images_and_points(images, points, ReadOptions())
    assert counts(pairs) == {"a": 2, "b": 1, "c.1": 3}
    assert pairs.without_image == [str(points / "d.csv")]
    assert pairs.image_root == images


def test_what_was_written_before_is_no_point_file(images, points):
    (points / "a.csv").write_text("x,y\n1,2\n5,6\n")
    output = points / "train.json"
    image = {"id": 1, "file_name": "a.png"}
    annotation = {"id": 1, "image_id": 1, "point": [1, 2]}
    coco = {"info": INFO, "images": [image], "annotations": [annotation]}
    output.write_text(json.dumps(coco))
    pairs = pair_images_and_points(images, points, ReadOptions())
    assert counts(pairs)["a"] == 3
    pairs = pair_images_and_points(images, points, ReadOptions(), output=output)
    assert counts(pairs)["a"] == 2
    assert pairs.without_image == []


def test_by_the_names_in_the_file(images, points):
    file = points / "all.csv"
    file.write_text("image,x,y\na.png,1,2\nC:\\slides\\b.tif,3,4\nc.1,5,6\nd.png,1,1\n")
    pairs = pair_images_and_points(images, file, ReadOptions())
    assert counts(pairs) == {"a": 1, "b": 1, "c.1": 1}
    assert pairs.without_image == [f"d.png in {file}"]


def test_one_image_and_one_file_need_no_common_name(images, points):
    file = points / "points.csv"
    file.write_text("x,y\n1,2\n")
    pairs = pair_images_and_points(images / "b.tif", file, ReadOptions())
    assert counts(pairs) == {"b": 1}
    assert pairs.image_root == images
    pairs = pair_images_and_points(images, file, ReadOptions())
    assert counts(pairs) == {"a": 0, "b": 0, "c.1": 0}
    assert pairs.without_image == [str(file)]


def test_whole_slides_have_one_clear_line(images, points):
    (points / "slide.csv").write_text("x,y\n1,2\n")
    slide = images / "slide.svs"
    slide.write_bytes(b"")
    with pytest.raises(InputError, match=r"slide\.svs: is a whole slide.*export its annotated"):
        pair_images_and_points(images, points, ReadOptions())
    with pytest.raises(InputError, match=r"slide\.svs: is a whole slide"):
        pair_images_and_points(slide, points, ReadOptions())
    # A slide that has no points does not matter, unless there is nothing else.
    (points / "slide.csv").rename(points / "a.csv")
    assert counts(pair_images_and_points(images, points, ReadOptions()))["a"] == 1
    for image in list(images.iterdir()):
        if image != slide:
            image.unlink()
    with pytest.raises(InputError, match=r"slide\.svs: is a whole slide"):
        pair_images_and_points(images, points, ReadOptions())


def test_missing_folders(images, points, tmp_path):
    with pytest.raises(InputError, match="no point file in this folder"):
        pair_images_and_points(images, points, ReadOptions())
    with pytest.raises(InputError, match="no such file"):
        pair_images_and_points(images, tmp_path / "none", ReadOptions())
    with pytest.raises(InputError, match="no such file"):
        pair_images_and_points(tmp_path / "none", points, ReadOptions())

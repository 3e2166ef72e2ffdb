"""Which file belongs to which image."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from selfsam_d2.data.point_datasets.output_file import INFO
from selfsam_d2.data.point_datasets.pairs import StrayPoints, pair_images_and_points
from selfsam_d2.data.point_datasets.regions import SlideFormats, SlideHeader
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
    assert pairs.without_image == [StrayPoints(points / "d.csv")]
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
    assert pairs.without_image == [StrayPoints(file, "d.png")]


def test_one_image_and_one_file_need_no_common_name(images, points):
    file = points / "points.csv"
    file.write_text("x,y\n1,2\n")
    pairs = pair_images_and_points(images / "b.tif", file, ReadOptions())
    assert counts(pairs) == {"b": 1}
    assert pairs.image_root == images
    pairs = pair_images_and_points(images, file, ReadOptions())
    assert counts(pairs) == {"a": 0, "b": 0, "c.1": 0}
    assert pairs.without_image == [StrayPoints(file)]


class Slide:
    """A slide that has a size and a resolution, and if it is DICOM a series."""

    def __init__(self, path, microns_per_pixel):
        self.microns_per_pixel = microns_per_pixel
        self.series = "1.2.3" if path.suffix == ".dcm" else None
        self.size = (300, 200)
        self.path = path

    def close(self):
        self.path.with_suffix(".closed").touch()


MICRONS = {"s.svs": 0.5, "t.svs": 0.25, "b.tif": 2.0, "d2.dcm": None}


def open_slide(path):
    if path.name == "broken.svs":
        raise InputError(path, "cannot be opened")
    return Slide(path, MICRONS[path.name]) if path.name in MICRONS else None


FORMATS = SlideFormats(frozenset({".svs", ".dcm"}), open_slide)


def test_slides_without_points_are_listed_and_not_opened(images, points):
    for name in ("s.svs", "broken.svs"):
        (images / name).touch()
    (points / "s.svs.csv").write_text("x,y\n1,2\n")
    (points / "b.csv").write_text("x,y\n1,2\n")
    pairs = pair_images_and_points(images, points, ReadOptions(), formats=FORMATS)
    assert counts(pairs) == {"a": 0, "b": 1, "broken": 0, "c.1": 0, "s": 1}
    assert list(pairs.images) == sorted(pairs.images)
    assert pairs.images["s"] == images / "s.svs"
    assert pairs.slides == {"s": SlideHeader((200, 300), 0.5), "b": SlideHeader((200, 300), 2.0)}
    assert (images / "s.closed").exists()
    (points / "broken.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=r"broken\.svs: cannot be opened"):
        pair_images_and_points(images, points, ReadOptions(), formats=FORMATS)
    for image in images.glob("*.[pt]*"):
        image.unlink()
    (points / "broken.csv").unlink()
    pairs = pair_images_and_points(images, points, ReadOptions(), formats=FORMATS)
    assert counts(pairs) == {"broken": 0, "s": 1}
    pairs = pair_images_and_points(
        images / "s.svs", points / "b.csv", ReadOptions(), formats=FORMATS
    )
    assert counts(pairs) == {"s": 1}


def test_files_beside_a_slide_of_several_are_no_images_without_points(images, points):
    for name in ("d1.DCM", "d2.dcm", "s.svs"):
        (images / name).touch()
    (points / "a.csv").write_text("x,y\n1,2\n")
    pairs = pair_images_and_points(images, points, ReadOptions(), formats=FORMATS)
    assert counts(pairs) == {"a": 1, "b": 0, "c.1": 0, "d1": 0, "d2": 0, "s": 0}
    (points / "d2.csv").write_text("x,y\n1,2\n")
    pairs = pair_images_and_points(images, points, ReadOptions(), formats=FORMATS)
    assert counts(pairs) == {"a": 1, "b": 0, "c.1": 0, "d2": 1, "s": 0}


def test_a_slide_and_an_image_of_one_name_are_refused(images, points):
    (images / "a.svs").touch()
    (points / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=r"a\.svs: same name as a\.png in this folder"):
        pair_images_and_points(images, points, ReadOptions(), formats=FORMATS)


def test_the_resolution_of_what_has_points(images, points):
    """That of the option, else of the slide, else of the image; none of what has no points."""
    for name in ("s.svs", "t.svs"):
        (images / name).touch()
    for name in ("s", "b", "c.1"):
        (points / f"{name}.csv").write_text("x,y\n1,2\n")
    asked = []

    def stated(path):
        asked.append(path.name)
        return 0.75 if path.suffix == ".png" else None

    formats = SlideFormats(FORMATS.suffixes, open_slide, stated)
    pairs = pair_images_and_points(images, points, ReadOptions(), formats=formats)
    assert pairs.microns_per_pixel == {"s": 0.5, "b": 2.0, "c.1": 0.75}
    assert asked == ["c.1.png"]
    pairs = pair_images_and_points(images, points, ReadOptions("px", 0.3), formats=formats)
    assert pairs.microns_per_pixel == {"s": 0.3, "b": 0.3, "c.1": 0.3}
    pairs = pair_images_and_points(images, points, ReadOptions())
    assert pairs.microns_per_pixel == {}
    # What an image states is the resolution of points in um as well.
    (points / "c.1.csv").write_text("x_um,y_um\n3,6\n")
    pairs = pair_images_and_points(images, points, ReadOptions(), formats=formats)
    assert pairs.points["c.1"].points == [(4, 8)]


def test_points_in_micrometres_have_the_resolution_of_their_slide(images, points):
    for name in ("s.svs", "t.svs"):
        (images / name).touch()
    (points / "s.csv").write_text("x_um,y_um\n1,2\n")
    # Half a pixel of row and column is one of each slide.
    (points / "all.csv").write_text("image,row_um,col_um\nt.svs,2,1\nb.tif,2,1\nd,1,1\n")
    pairs = pair_images_and_points(images, points, ReadOptions(), formats=FORMATS)
    found = {stem: pairs.points[stem].points for stem in pairs.slides}
    assert found == {"s": [(2, 4)], "t": [(4.5, 8.5)], "b": [(1, 1.5)]}
    assert pairs.without_image == [StrayPoints(points / "all.csv", "d")]
    pairs = pair_images_and_points(images, points, ReadOptions("um", 0.1), formats=FORMATS)
    assert pairs.points["s"].points == [(10, 20)]
    (points / "a.csv").write_text("x_um,y_um\n1,2\n")
    with pytest.raises(InputError, match=r"a\.csv: has points in micrometres; add --microns"):
        pair_images_and_points(images, points, ReadOptions(), formats=FORMATS)


def test_missing_folders(images, points, tmp_path):
    with pytest.raises(InputError, match="no point file in this folder"):
        pair_images_and_points(images, points, ReadOptions())
    with pytest.raises(InputError, match="no such file"):
        pair_images_and_points(images, tmp_path / "none", ReadOptions())
    with pytest.raises(InputError, match="no such file"):
        pair_images_and_points(tmp_path / "none", points, ReadOptions())

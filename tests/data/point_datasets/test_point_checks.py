"""What is dropped of the points of an image, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from selfsam_d2.data.point_datasets.pairs import ImagePairs
from selfsam_d2.data.point_datasets.point_checks import (
    NOT_MEASURED,
    check_images_and_points,
    double_points,
)
from selfsam_d2.data.point_files.point_set import PointSet
from selfsam_d2.errors import InputError

WIDTH, HEIGHT = 400, 300


def checked(tmp_path, point_set, whole_up_to=1024, **options):
    path = tmp_path / "a.png"
    Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 180)).save(path)
    pairs = ImagePairs(tmp_path, {"a": path}, {"a": point_set})
    return check_images_and_points(pairs, whole_up_to=whole_up_to, **options)


def points_of(*points, regions=()):
    return PointSet(list(points), [""] * len(points), list(regions))


def test_outside_is_half_open(tmp_path):
    edge = [(0, 0), (WIDTH - 0.01, HEIGHT - 0.01), (WIDTH, 5), (5, HEIGHT), (-0.01, 5), (50, 60)]
    (image,) = checked(tmp_path, points_of(*edge)).images
    assert image.outside.tolist() == [list(each) for each in edge[2:5]]
    assert image.points.tolist() == [list(edge[0]), list(edge[1]), list(edge[5])]
    assert image.area is None


def test_the_later_of_two_near_points_goes(tmp_path):
    points = [(10, 10), (11.9, 10), (12, 10), (13.5, 10), (100, 100), (10, 10)]
    (image,) = checked(tmp_path, points_of(*points)).images
    # The second is dropped, so it drops none itself; exactly two px apart are two nuclei.
    assert image.points.tolist() == [[10, 10], [12, 10], [100, 100]]
    assert image.doubles.tolist() == [[11.9, 10], [13.5, 10], [10, 10]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30))
def test_doubles_against_a_loop(points):
    points = np.array(points, dtype=np.float64).reshape(-1, 2) * 0.8
    kept = []
    expected = []
    for point in points:
        near = any(np.hypot(*(point - other)) < 2 for other in kept)
        expected.append(near)
        if not near:
            kept.append(point)
    assert double_points(points, 2.0).tolist() == expected


def test_points_outside_of_drawn_regions_go(tmp_path):
    regions = [shapely.box(50, 50, 100, 100)]
    inside, near, far = (60, 60), (104, 60), (200, 200)
    (image,) = checked(tmp_path, points_of(inside, near, far, regions=regions)).images
    assert image.points.tolist() == [list(inside)]
    assert image.off_region.tolist() == [list(near), list(far)]
    assert image.has_regions
    assert image.area.equals(regions[0])
    (image,) = checked(tmp_path, points_of(inside, near, far, regions=regions), margin=5).images
    assert (len(image.points), len(image.off_region)) == (2, 1)


def test_of_a_large_image_only_the_neighbourhood_counts(tmp_path):
    found = points_of((50, 50), (60, 50), (70, 50))
    (image,) = checked(tmp_path, found, whole_up_to=WIDTH).images
    assert image.area is None
    (image,) = checked(tmp_path, found, whole_up_to=WIDTH - 1).images
    assert 0 < image.area.area < 3000
    assert not image.has_regions


def test_classes_are_chosen(tmp_path):
    found = PointSet([(10, 10), (50, 50), (90, 90), (130, 90)], ["Tumor", "", "Stroma", "Tumor"])
    (image,) = checked(tmp_path, found, classes=["Tumor"]).images
    assert image.points.tolist() == [[10, 10], [130, 90]]
    assert image.classes == ["Tumor", "Tumor"]
    assert image.left_out.tolist() == [[50, 50], [90, 90]]
    with pytest.raises(
        InputError, match=r"no point has the class Tumour; .*\(none\), Stroma, Tumor"
    ):
        checked(tmp_path, found, classes=["Tumour"])


def test_what_has_no_points_is_not_measured(tmp_path):
    """It may be larger than is read, or no image at all."""
    (tmp_path / "b.tif").write_text("no image")
    regions = [shapely.box(50, 50, 100, 100)]
    empty = PointSet([], [], regions, unused_outlines=4, ignored=7)
    pairs = ImagePairs(tmp_path, {"b": tmp_path / "b.tif"}, {"b": empty})
    (image,) = check_images_and_points(pairs, whole_up_to=100).images
    assert (image.size, image.points.shape) == (NOT_MEASURED, (0, 2))
    assert (image.area, image.covered, image.one_part) == (None, None, False)
    assert (image.unused_outlines, image.ignored) == (4, 7)
    pairs.points["b"] = points_of((1, 2))
    with pytest.raises(InputError, match=r"b\.tif: damaged or not an image"):
        check_images_and_points(pairs, whole_up_to=100)


def test_the_resolution_is_that_of_the_pair(tmp_path):
    for name in "ab":
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{name}.png")
    paths = {name: tmp_path / f"{name}.png" for name in "ab"}
    points = {name: points_of((9, 9)) for name in "ab"}
    pairs = ImagePairs(tmp_path, paths, points, microns_per_pixel={"b": 0.5})
    found = check_images_and_points(pairs, whole_up_to=1024).images
    assert [image.microns_per_pixel for image in found] == [None, 0.5]


CORNER_ONLY = [(10 + 15 * (k % 5), 10 + 15 * (k // 5)) for k in range(20)]


def test_points_in_one_corner_of_an_image_without_outline(tmp_path):
    result = checked(tmp_path, points_of(*CORNER_ONLY))
    assert result.images[0].covered == 60 * 45 / (WIDTH * HEIGHT)
    assert result.images[0].one_part


def test_points_in_one_corner_are_well_where_the_rest_is_not_annotated(tmp_path):
    whole = shapely.box(0, 0, WIDTH, HEIGHT)
    for found, whole_up_to in (
        (points_of(*CORNER_ONLY, regions=[whole]), 1024),
        (points_of(*CORNER_ONLY), 300),
    ):
        result = checked(tmp_path, found, whole_up_to)
        assert (result.images[0].covered, result.images[0].one_part) == (None, False)


def test_points_of_other_classes_tell_where_somebody_looked(tmp_path):
    far = [(390, 290), (300, 150)]
    names = ["Tumor"] * len(CORNER_ONLY) + ["Stroma"] * 2
    (image,) = checked(tmp_path, PointSet(CORNER_ONLY + far, names), classes=["Tumor"]).images
    assert (len(image.points), image.one_part) == (20, False)
    # Points outside of the image do not.
    out = [(WIDTH + 50, HEIGHT + 50)]
    (image,) = checked(tmp_path, points_of(*CORNER_ONLY, *out)).images
    assert image.one_part

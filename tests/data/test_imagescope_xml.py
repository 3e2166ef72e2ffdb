"""ImageScope XML: reading and rasterising, against shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from selfsam_d2.data.imagescope_xml import (
    find_imagescope_xml,
    rasterise_polygons,
    read_imagescope_polygons,
)
from selfsam_d2.errors import InputError

SHAPE = (40, 50)


def star(rng, centre, radius):
    """A polygon without self-intersection around ``centre``, at odd coordinates."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    radii = radius * rng.uniform(0.4, 1, 12)
    return centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]


def pixel_centres_in(polygon):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    return shapely.contains_xy(shapely.Polygon(polygon), x, y)


@pytest.mark.parametrize("seed", range(8))
def test_a_pixel_is_inside_if_its_centre_is(seed):
    rng = np.random.default_rng(seed)
    polygon = star(rng, rng.uniform(0, 50, 2), 14)  # also across the border
    label_map = rasterise_polygons([polygon], SHAPE).label_map
    assert label_map.shape == SHAPE
    np.testing.assert_array_equal(label_map == 1, pixel_centres_in(polygon))


def test_no_shift_by_half_a_pixel():
    square = np.array([[10.0, 20.0], [14.0, 20.0], [14.0, 23.0], [10.0, 23.0]])
    expected = np.zeros(SHAPE, dtype=np.int32)
    expected[20:23, 10:14] = 1
    np.testing.assert_array_equal(rasterise_polygons([square], SHAPE).label_map, expected)


def test_first_outline_wins_and_losses_are_counted():
    rng = np.random.default_rng(3)
    polygons = [star(rng, [20, 20], 15), star(rng, [28, 20], 15), star(rng, [25, 24], 12)]
    inside = [pixel_centres_in(polygon) for polygon in polygons]
    expected = np.where(inside[0], 1, np.where(inside[1], 2, np.where(inside[2], 3, 0)))
    layers = np.sum(inside, axis=0)
    assert (layers == 3).any()  # a pixel of three outlines is one pixel
    result = rasterise_polygons(polygons, SHAPE)
    np.testing.assert_array_equal(result.label_map, expected)
    assert result.overlap_pixels == (layers >= 2).sum()
    assert result.lost_outlines == 0


def test_outlines_without_a_pixel_leave_a_gap_in_the_ids():
    square = np.array([[2.0, 2.0], [6.0, 2.0], [6.0, 6.0], [2.0, 6.0]])
    outlines = [square, square[:2], square + 100, square * 0.5 + 2, square + 10]
    result = rasterise_polygons(outlines, SHAPE)
    assert np.unique(result.label_map).tolist() == [0, 1, 5]
    assert result.lost_outlines == 3


def test_reading(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(
        """<?xml version="1.0" encoding="UTF-8"?>
        <Annotations MicronsPerPixel="0.252"><Annotation Id="1"><Regions>
        <RegionAttributeHeaders/>
        <Region Id="1"><Vertices><Vertex X="1.5" Y="2" Z="0"/><Vertex X="3" Y="4.25"/>
        <Vertex X="0" Y="9"/></Vertices></Region>
        <Region Id="2"><Vertices/></Region></Regions></Annotation>
        <Annotation Id="2"><Regions><Region Id="1"><Vertices><Vertex X="7" Y="8"/></Vertices>
        </Region></Regions></Annotation></Annotations>"""
    )
    polygons = read_imagescope_polygons(path)
    assert [len(polygon) for polygon in polygons] == [3, 0, 1]
    np.testing.assert_array_equal(polygons[0], [[1.5, 2], [3, 4.25], [0, 9]])
    assert find_imagescope_xml(tmp_path) == {"a": path}


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><Annotations>&c;</Annotations>'
VERTEX = "<Annotations><Annotation><Regions><Region Id='5'><Vertices><Vertex {}/></Vertices></Region></Regions></Annotation></Annotations>"  # noqa: E501


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("<Annotations>", "is not XML that can be read"),
        ("", "is not XML that can be read"),
        (BOMB, "is not XML that can be read"),
        ("<html/>", "is not ImageScope XML"),
        (VERTEX.format("X='1'"), "region 5 has a vertex without"),
        (VERTEX.format("X='1' Y='two'"), "region 5 has a vertex without"),
        (VERTEX.format("X='1' Y='nan'"), "region 5 has a vertex without"),
    ],
)
def test_bad_xml(tmp_path, content, problem):
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(InputError, match=rf"a\.xml: {problem}") as caught:
        read_imagescope_polygons(path)
    assert "\n" not in str(caught.value)


def test_missing_xml(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_imagescope_polygons(tmp_path / "a.xml")
    with pytest.raises(InputError, match="no annotation XML in this folder"):
        find_imagescope_xml(tmp_path)


@pytest.mark.parametrize("encoding", ["foo", "utf-7", "UTF-32", "hex", "rot13", "undefined"])
def test_encodings_that_are_not_read_are_one_line(tmp_path, encoding):
    path = tmp_path / "a.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><Annotations/>')
    with pytest.raises(InputError, match=r"a\.xml: is not XML that can be read") as caught:
        read_imagescope_polygons(path)
    assert "\n" not in str(caught.value)

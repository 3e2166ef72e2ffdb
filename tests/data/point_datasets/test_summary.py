"""What is printed of images and points, and what ``--strict`` says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsam_d2.data.point_datasets.pairs import StrayPoints
from selfsam_d2.data.point_datasets.point_checks import (
    NOT_MEASURED,
    CheckedImage,
    CheckedPoints,
)
from selfsam_d2.data.point_datasets.summary import (
    likely_stem,
    problems,
    resolution_text,
    summary_table,
)


def places(*points):
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def image(name, points=((5, 6),), **more):
    classes = more.pop("classes", [""] * len(points))
    size = (300, 400) if len(points) else NOT_MEASURED
    return CheckedImage(Path("folder") / name, size, places(*points), classes, **more)


def checked(*images, without_image=()):
    return CheckedPoints(Path("folder"), list(images), list(without_image))


def parts(text):
    """Cells of the table by row, lines of the legend, warnings."""
    lines = text.splitlines()
    assert text == "".join(f"{line}\n" for line in lines)
    table = [line for line in lines if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    rest = lines[len(table) :]
    warnings = [line for line in rest if line.startswith("WARNING: ")]
    legend = rest[: len(rest) - len(warnings)]
    assert lines == [*table, *legend, *warnings]
    return [cells[0], *cells[2:]], legend, warnings


FULL = {
    "left_out": places((1, 1)),
    "outside": places((900, 5), (-1, 3)),
    "doubles": places((10, 11)),
    "off_region": places((1, 2), (3, 4), (5, 6)),
    "unused_outlines": 4,
}


def test_columns_that_are_zero_for_every_image_are_left_out():
    rows, legend, warnings = parts(summary_table(checked(image("a.png")), {}))
    assert rows == [["image", "points"], ["a.png", "1"], ["all", "1"]]
    assert (legend, warnings) == ([], [])
    classes = ["T", ""]
    full = image("b.png", [(1, 1), (9, 9)], classes=classes, covered=0.053, ignored=7, **FULL)
    rows, legend, warnings = parts(summary_table(checked(image("a.png"), full), {"b.png": 3}))
    columns = ["image", "tiles", "points", "(no class)", "T", "other classes", "outside image"]
    more = ["double", "outside regions", "outlines not used", "points cover"]
    assert rows == [
        [*columns, *more],
        ["a.png", "0", "1", "1", "0", "0", "0", "0", "0", "0", ""],
        ["b.png", "3", "2", "1", "1", "1", "2", "1", "3", "4", "5%"],
        ["all", "3", "3", "2", "1", "1", "2", "1", "3", "4", ""],
    ]
    explained = ["tiles", *columns[5:], *more]
    assert [line.split(": ")[0] for line in legend] == explained
    assert "less than 2 px" in legend[explained.index("double")]
    assert "box" in legend[-1]
    assert warnings == [
        "WARNING: points of classes that QuPath ignores (*), left out: 7 of b.png",
    ]


@pytest.mark.parametrize("column", [*FULL, "tiles", "covered"])
def test_the_legend_explains_what_is_shown(column):
    if column == "tiles":
        text = summary_table(checked(image("a.png")), {"a.png": 2})
    else:
        value = {"covered": 0.0}.get(column, FULL.get(column))
        text = summary_table(checked(image("a.png", **{column: value})), {})
    rows, legend, _ = parts(text)
    (shown,) = set(rows[0]) - {"image", "points"}
    (line,) = legend
    assert line.startswith(f"{shown}: ")


def test_without_points_the_column_of_points_stays():
    rows, _, warnings = parts(summary_table(checked(image("a.png", []), image("b.svs", [])), {}))
    assert rows == [["image", "points"], ["a.png", "0"], ["b.svs", "0"], ["all", "0"]]
    assert warnings == ["WARNING: images without points, left out: a.png, b.svs"]


def test_points_in_one_part_are_named():
    result = checked(image("a.png", [(k, k) for k in range(20)], covered=0.021, one_part=True))
    assert parts(summary_table(result, {}))[2] == [
        "WARNING: points in one part of an image only, all of which counts as annotated; outline "
        "what you looked at: a.png (20 points in 2%)"
    ]
    assert problems(result) == [
        "1 image with points in one part only, without an outline (a.png: 2%)"
    ]


def test_strict_says_how_many_and_where():
    result = checked(
        image("a.png", doubles=places((142.94, 4.51)), outside=places((-1, 3))),
        image("b.png", outside=places((900, 5), (1, 301), (2, 302)), off_region=places((7, 8))),
        image("c.png", []),
        without_image=[StrayPoints(Path("far/d.csv")), StrayPoints(Path("far/e.csv"), "x.png")],
    )
    assert problems(result) == [
        "4 points outside their image (a.png at -1.0, 3.0; b.png at 900.0, 5.0; b.png at 1.0, "
        "301.0; ...)",
        "1 point less than 2 px from another (a.png at 142.9, 4.5)",
        "1 point outside of the regions (b.png at 7.0, 8.0)",
        "1 image without points (c.png)",
        "2 point files without an image (d.csv, x.png in e.csv)",
    ]
    one = checked(image("a.png", outside=places((-1, 3))))
    assert problems(one) == ["1 point outside its image (a.png at -1.0, 3.0)"]
    many = checked(*(image(f"{name}.png", []) for name in "abcd"))
    assert problems(many) == ["4 images without points (a.png, b.png, c.png, ...)"]
    assert problems(checked(image("a.png"))) == []


def test_a_name_is_suggested_for_points_without_an_image():
    stray = [
        StrayPoints(Path("p/01_1 points.geojson")),
        StrayPoints(Path("p/nothing.csv")),
        StrayPoints(Path("p/01_2 all.csv"), "01_1.jpg"),
    ]
    images = image("01_1.png", []), image("01_2.png", []), image("01_3.png")
    warnings = parts(summary_table(checked(*images, without_image=stray), {}))[2]
    assert warnings[-1] == (
        "WARNING: points without an image, left out: 01_1 points.geojson (rename it to "
        "01_1.geojson?), nothing.csv, 01_1.jpg in 01_2 all.csv"
    )
    # Not one that has points, nor one whose points were dropped.
    images = image("01_1.png"), image("01_2.png", [])
    warnings = parts(summary_table(checked(*images, without_image=stray[:1]), {}))[2]
    assert warnings[-1].endswith("left out: 01_1 points.geojson")
    dropped = image("01_1.png", outside=places((900, 5)))
    dropped.points = places()
    dropped.classes = []
    warnings = parts(summary_table(checked(dropped, without_image=stray[:1]), {}))[2]
    assert warnings[-1].endswith("left out: 01_1 points.geojson")


@pytest.mark.parametrize(
    ("name", "stems", "expected"),
    [
        ("01_1 points", ["01_1", "01_2"], "01_1"),
        ("01_1-annotations-of-somebody", ["01", "01_1", "01_2"], "01_1"),
        ("Slide A", ["slide_a", "slide_b"], "slide_a"),
        ("a of somebody", ["A", "B"], "A"),
        ("tumour", ["tumor"], "tumor"),
        ("points_01_2", ["01_1", "01_2"], "01_2"),
        # Another number is another image.
        ("01_4", ["01_1", "01_2"], None),
        ("12", ["1"], None),
        ("img_12", ["img_1"], None),
        ("abc", ["xyz"], None),
        ("abcdefghijk", ["abc"], None),
        ("abc", [], None),
    ],
)
def test_which_image_a_file_may_be_meant_for(name, stems, expected):
    assert likely_stem(name, stems) == expected


@given(st.text(), st.lists(st.text(min_size=1)))
def test_what_is_suggested_is_one_of_them(name, stems):
    found = likely_stem(name, stems)
    assert found is None or found in stems
    assert likely_stem("a 1", [*stems, "a 1"]) == "a 1"


def test_the_resolution_in_words():
    assert resolution_text([]) == ""
    assert resolution_text([None, None]) == ""
    assert resolution_text([0.25, 0.25004]) == ", 0.25 µm/px"
    assert resolution_text([0.26, 0.25]) == ", 0.25 to 0.26 µm/px"
    assert resolution_text([None, 0.5]) == ", 0.5 µm/px (unknown of 1)"


def test_resolutions_that_differ_are_named():
    names = {"a.svs": 0.25, "b.svs": 0.5, "c.svs": 0.5, "d.png": None, "e.svs": 0.252}
    images = [image(name, microns_per_pixel=value) for name, value in names.items()]
    differ = "0.25 µm/px: a.svs; 0.252 µm/px: e.svs; 0.5 µm/px: b.svs, c.svs"
    assert parts(summary_table(checked(*images), {}))[2] == [
        "WARNING: images of different resolution, which a training refuses; rescale them, or make "
        f"a dataset of each: {differ}"
    ]
    assert problems(checked(*images)) == [f"images of different resolution ({differ})"]
    alike = [image("a.svs", microns_per_pixel=0.25), image("b.svs", microns_per_pixel=0.274)]
    assert parts(summary_table(checked(*alike), {}))[2] == []
    apart = [image("a.svs", microns_per_pixel=0.25), image("b.svs", microns_per_pixel=0.276)]
    assert problems(checked(*apart)) != []
    # What is left out does not count.
    empty = [image("a.svs", microns_per_pixel=0.25), image("b.svs", [], microns_per_pixel=0.5)]
    assert not any("resolution" in line for line in problems(checked(*empty)))

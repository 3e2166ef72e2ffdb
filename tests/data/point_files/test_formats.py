"""What the tools really write: spellings, regions, several images; and what is refused."""

from __future__ import annotations

import json

import pytest
import shapely

from selfsam_d2.data.point_files.formats import read_point_file
from selfsam_d2.data.point_files.point_set import ReadOptions
from selfsam_d2.errors import InputError

SQUARE = [[[10, 20], [50, 20], [50, 60], [10, 60], [10, 20]]]


def feature(kind, coordinates, name=None, **properties):
    if name is not None:
        properties["classification"] = {"name": name}
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def read(tmp_path, content, *options, file_format="auto"):
    path = tmp_path / "a.txt"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return read_point_file(path, ReadOptions(*options), file_format)


@pytest.mark.parametrize(
    "wrap", [list, lambda each: {"type": "FeatureCollection", "features": each}]
)
def test_lists_and_collections_of_features(tmp_path, wrap):
    features = [feature("Point", [1.5, 2]), feature("MultiPoint", [[3, 4], [5, 6, 0]], "Tumor")]
    found = read(tmp_path, wrap(features))[None]
    assert found.points == [(1.5, 2), (3, 4), (5, 6)]
    assert found.classes == ["", "Tumor", "Tumor"]


def test_a_single_feature_and_names_in_parts(tmp_path):
    single = feature("Point", [1, 2])
    single["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    assert read(tmp_path, single)[None].classes == ["Tumor: Positive"]


def test_points_of_classes_that_qupath_ignores_are_counted(tmp_path):
    features = [
        feature("MultiPoint", [[3, 4], [5, 6]], "Ignore*"),
        feature("Point", [7, 8], "Tumor"),
        feature("Point", [9, 8], "Tumor: Ignore*"),
        feature("Polygon", SQUARE, "Region*", objectType="annotation"),
    ]
    found = read(tmp_path, features)[None]
    assert (found.points, found.classes, found.ignored) == ([(7, 8)], ["Tumor"], 3)
    assert len(found.regions) == 1
    found.extend(found)
    assert found.ignored == 6
    rows = "Object type,Classification,Centroid X px,Centroid Y px\n"
    rows += "Annotation,Ignore*,1,2\nAnnotation,,3,4\n"
    found = read(tmp_path, rows)[None]
    assert (found.points, found.ignored) == ([(3, 4)], 1)
    # A table of another tool may call a nucleus whatever it likes.
    found = read(tmp_path, "x,y,class\n1,2,T*\n")[None]
    assert (found.classes, found.ignored) == (["T*"], 0)


def test_which_outlines_are_regions(tmp_path):
    features = [
        feature("Polygon", SQUARE),
        feature("Polygon", SQUARE, "Region*", objectType="annotation"),
        feature("MultiPolygon", [SQUARE], "Tumor"),
        feature("Polygon", SQUARE, objectType="detection"),
        feature("Polygon", SQUARE, "Region*", objectType="cell"),
    ]
    found = read(tmp_path, features)[None]
    assert [region.area for region in found.regions] == [1600, 1600]
    assert found.unused_outlines == 3
    found = read(tmp_path, features, None, None, "Tumor")[None]
    assert len(found.regions) == 1
    assert found.unused_outlines == 4
    scaled = read(tmp_path, features, "um", 0.5)[None].regions[0]
    assert scaled.equals(shapely.box(20, 40, 100, 120))


def test_an_outline_that_crosses_itself_is_mended(tmp_path):
    bow_tie = [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]
    (region,) = read(tmp_path, [feature("Polygon", bow_tie)])[None].regions
    assert region.is_valid
    assert region.area == pytest.approx(50)


def test_labelme_regions(tmp_path):
    shapes = [
        {"label": "nucleus", "points": [[4, 5]], "shape_type": "point"},
        {"label": "region", "points": [[50, 60], [10, 20]], "shape_type": "rectangle"},
        {"label": "tumour", "points": SQUARE[0][:4], "shape_type": "polygon"},
    ]
    found = read(tmp_path, {"shapes": shapes})[None]
    assert found.classes == ["nucleus"]
    assert found.unused_outlines == 1
    assert found.regions[0].equals(shapely.box(10, 20, 50, 60))
    (region,) = read(tmp_path, {"shapes": shapes}, None, None, "tumour")[None].regions
    assert region.equals(shapely.box(10, 20, 50, 60))


def test_coco_keypoints_have_visibility_and_our_points_no_shift(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "x/a.png"}, {"id": "two", "file_name": "b.png"}],
        "annotations": [
            {"id": 1, "image_id": 1, "keypoints": [10, 20, 2, 0, 0, 0, 30, 40, 1]},
            {"id": 2, "image_id": 1, "category_id": 3, "point": [7.25, 8]},
        ],
        "categories": [{"id": 3, "name": "nucleus"}],
    }
    found = read(tmp_path, content)
    assert list(found) == ["a.png", "b.png"]
    assert found["a.png"].points == [(10.5, 20.5), (30.5, 40.5), (7.25, 8)]
    assert found["a.png"].classes == ["", "", "nucleus"]
    assert found["b.png"].points == []


@pytest.mark.parametrize(
    "header",
    [
        "x,y",
        "X,Y",
        '"X (px)","Y (px)"',
        "x_px,y_px",
        "Centroid X px,Centroid Y px",
        "centroid_x,centroid_y",
        "x_centroid,y_centroid",
        "Location_Center_X,Location_Center_Y",
        "cx,cy",
        "XM,YM",
        "pos x,pos y",
    ],
)
def test_spellings_of_x_and_y(tmp_path, header):
    assert read(tmp_path, f"{header}\n3,4.5\n")[None].points == [(3, 4.5)]
    turned = ",".join(reversed(header.split(",")))
    assert read(tmp_path, f"Id,{turned},note\na,4.5,3,b\n")[None].points == [(3, 4.5)]


@pytest.mark.parametrize("header", ["column,row", "col,row", "Col (px),Row (px)"])
def test_row_and_column_are_indices_of_an_array(tmp_path, header):
    assert read(tmp_path, f"{header}\n3,4\n")[None].points == [(3.5, 4.5)]
    turned = ",".join(reversed(header.split(",")))
    assert read(tmp_path, f"Id,{turned},note\na,4,3,b\n")[None].points == [(3.5, 4.5)]
    # As napari reads them: half a pixel, whatever the unit.
    (napari,) = read(tmp_path, "index,axis-0,axis-1\n0,4,3\n", "um", 0.5)[None].points
    assert read(tmp_path, "row_um,col_um\n4,3\n", None, 0.5)[None].points == [napari]
    # x beside row would be two frames.
    assert read(tmp_path, "row,col,x,y\n1,2,30,40\n")[None].points == [(30, 40)]
    with pytest.raises(InputError, match="has no columns x and y, found x, row"):
        read(tmp_path, "x,row\n1,2\n")


def test_columns_without_a_header(tmp_path):
    found = read(tmp_path, "1;2,5;Tumor\n\n3;4;\n")[None]
    assert found.points == [(1, 2.5), (3, 4)]
    assert found.classes == ["Tumor", ""]
    assert read(tmp_path, "1\t2\n")[None].classes == [""]


@pytest.mark.parametrize(
    "micro", ["\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "um", "microns"]
)
def test_the_unit_in_a_header_counts(tmp_path, micro):
    text = f"Centroid X {micro}\tCentroid Y {micro}\n5\t10\n"
    assert read(tmp_path, text, None, 0.5)[None].points == [(10, 20)]
    with pytest.raises(InputError, match="micrometres; add --microns-per-pixel"):
        read(tmp_path, text)
    with pytest.raises(InputError, match=r"in um, but --unit is px"):
        read(tmp_path, text, "px")


def test_both_units_side_by_side(tmp_path):
    text = "Centroid X µm,Centroid Y µm,Centroid X px,Centroid Y px\n5,10,11,21\n"
    assert read(tmp_path, text)[None].points == [(11, 21)]
    assert read(tmp_path, text, "um", 0.5)[None].points == [(10, 20)]


def test_the_measurements_of_qupath(tmp_path):
    rows = (
        "Image\tObject ID\tObject type\tName\tClassification\tROI\tCentroid X px\tCentroid Y px"
        "\tNum points\n"
        "a.png\t1\tAnnotation\t\tTumor\tPoints\t3\t4\t1\n"
        "a.png\t2\tAnnotation\t\t\tRectangle\t30\t40\t\n"
        "b.png\t3\tDetection\t\tStroma\tPolygon\t5\t6\t\n"
    )
    found = read(tmp_path, rows)
    assert list(found) == ["a.png", "b.png"]
    assert found["a.png"].points == [(3, 4)]
    assert found["a.png"].unused_outlines == 1
    assert (found["b.png"].points, found["b.png"].classes) == ([(5, 6)], ["Stroma"])
    with pytest.raises(InputError, match=r"line 2 is the mean of 7 points.*export GeoJSON"):
        read(tmp_path, rows.replace("\t4\t1", "\t4\t7"))


def test_napari_stacks_and_features(tmp_path):
    text = "index,axis-0,axis-1,axis-2,label\n0,5,20,10,Tumor\n1,5,21,11,\n"
    found = read(tmp_path, text)[None]
    assert found.points == [(10.5, 20.5), (11.5, 21.5)]
    assert found.classes == ["Tumor", ""]
    with pytest.raises(InputError, match="on 2 planes"):
        read(tmp_path, text + "2,6,1,1,\n")


GOOD_IMAGE = {"id": 1, "file_name": "a.png"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        (",,,\n", "is empty"),
        ('{"type": "Feature"', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ({"type": "Topology"}, "is neither GeoJSON"),
        ([None], "feature 1 has no geometry"),
        ([{"type": "Feature", "geometry": None}], "feature 1 has no geometry"),
        ({"type": "FeatureCollection"}, '"features" is not a list'),
        ([feature("LineString", [[1, 2], [3, 4]])], "feature 1 has the geometry LineString"),
        ([feature("Point", [1, 2]), feature("Point", [1])], "feature 2 has no pair"),
        ([feature("Point", [1, "2"])], "feature 1 has a coordinate that is no number"),
        ([feature("Point", [1, float("nan")])], "feature 1 has a coordinate that is no number"),
        ([feature("Point", [1, 1e9])], "feature 1 has a coordinate that is no number"),
        ([feature("Point", None)], "feature 1 has no pair"),
        ([feature("MultiPoint", 3)], "feature 1 is not a list"),
        ([feature("Polygon", [[[1, 2], [3, 4], [1, 2]]])], "fewer than three corners"),
        ([feature("Polygon", [])], "fewer than three corners"),
        ({"shapes": 3}, '"shapes" is not a list'),
        ({"shapes": [{"label": "a"}]}, 'shape 1 has no "points"'),
        ({"shapes": [{"points": [[1, 2]], "shape_type": "circle"}]}, "shape 1 is a circle"),
        ({"shapes": [{"points": [[1, 2], [3, 4]], "shape_type": "point"}]}, "2 positions"),
        ({"shapes": [{"points": [[1]], "shape_type": "point"}]}, "shape 1 has no pair"),
        ({"images": 1, "annotations": []}, '"images" must be a list'),
        ({"images": [{"id": 1}], "annotations": []}, 'needs an "id" and a "file_name"'),
        ({"images": [], "annotations": [{"id": 4, "image_id": 1}]}, "annotation 4 is of image 1"),
        (
            {"images": [GOOD_IMAGE], "annotations": [{"image_id": 1}]},
            'annotation number 1 has neither "keypoints"',
        ),
        (
            {"images": [GOOD_IMAGE], "annotations": [{"image_id": 1, "keypoints": [1, 2]}]},
            "x, y, visibility in turn",
        ),
        (
            {"images": [GOOD_IMAGE], "annotations": [{"image_id": 1, "iscrowd": 1}]},
            "is a crowd region",
        ),
        ("a,b\n1,2\n", "has no columns x and y, found a, b"),
        ("x,y\n1,two\n", "line 2 has 'two' where a number"),
        ("x,y\n1,2\n\n3,nan\n", "line 4 has 'nan' where a number"),
        ("x,y\n1\n", "line 2 has '' where a number"),
        ("image,x,y\n,1,2\n", "line 2 names no image"),
        ('x,y\n"1,2\n', "is not a table"),
        ("index,axis-0,axis-1\n0,1,\n", "line 2 has '' where a number"),
    ],
)
def test_bad_files_are_one_line(tmp_path, content, problem):
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'a.txt'}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_format_that_is_asked_for_must_be_there(tmp_path):
    points = [feature("Point", [1, 2])]
    with pytest.raises(InputError, match="is not of the format labelme; try --format auto"):
        read(tmp_path, points, file_format="labelme")
    with pytest.raises(InputError, match="no columns axis-0 and axis-1"):
        read(tmp_path, "x,y\n1,2\n", file_format="napari")
    with pytest.raises(InputError, match="is not JSON"):
        read(tmp_path, "x,y\n1,2\n", file_format="qupath")
    (tmp_path / "b.csv").write_bytes(b"x,y\n\xff\xfe1,2\n")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_point_file(tmp_path / "b.csv", ReadOptions())
    with pytest.raises(InputError, match="no such file"):
        read_point_file(tmp_path / "c.csv", ReadOptions())


def test_units_must_be_clear(tmp_path):
    with pytest.raises(InputError, match=r"has points in micrometres; add --microns-per-pixel"):
        read(tmp_path, "x,y\n1,2\n", "um")
    # What a slide says counts only where the user says nothing.
    of_slide = ReadOptions("um", None, None, 0.5)
    assert of_slide.pixels_per_unit(tmp_path) == 2
    assert ReadOptions("um", 0.25, None, 0.5).pixels_per_unit(tmp_path) == 4
    assert ReadOptions(None, None, None, 0.5).pixels_per_unit(tmp_path) == 1
    for resolution in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="must be above 0"):
            ReadOptions("um", resolution)
    with pytest.raises(InputError, match="names no unit and --microns-per-pixel is given"):
        read(tmp_path, "x,y\n1,2\n", None, 0.25)
    assert read(tmp_path, "x,y\n1,2\n", "px", 0.25)[None].points == [(1, 2)]

"""Points written as each tool writes them come back as they were, in px and in micrometres."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfsam_d2.data.point_files.formats import AUTO, read_point_file
from selfsam_d2.data.point_files.point_set import ReadOptions

CLASSES = ("", "Tumor", "Immune cells", "a, b;c", 'say "x"')
coordinate = st.floats(0, 5000, allow_nan=False)
annotated = st.lists(st.tuples(coordinate, coordinate, st.sampled_from(CLASSES)), max_size=12)


def as_qupath(points):
    """Runs of one class become a MultiPoint, as of QuPath's points tool; single ones a Point."""
    features = []
    for x, y, name in points:
        properties = {"objectType": "annotation"}
        if name:
            properties["classification"] = {"name": name, "color": [200, 0, 0]}
        if features and features[-1]["properties"] == properties:
            geometry = features[-1]["geometry"]
            if geometry["type"] == "Point":
                geometry["coordinates"] = [geometry["coordinates"]]
                geometry["type"] = "MultiPoint"
            geometry["coordinates"].append([x, y])
        else:
            geometry = {"type": "Point", "coordinates": [x, y]}
            features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return json.dumps({"type": "FeatureCollection", "features": features})


def as_labelme(points):
    shapes = [
        {"label": name, "points": [[x, y]], "shape_type": "point", "flags": {}}
        for x, y, name in points
    ]
    return json.dumps({"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "a.png"})


def as_coco(points, shift=0.5):
    names = sorted({name for _, _, name in points})
    annotations = [
        {
            "id": number,
            "image_id": 7,
            "category_id": names.index(name),
            "keypoints": [0, 0, 0, x - shift, y - shift, 2],
        }
        for number, (x, y, name) in enumerate(points)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    images = [{"id": 7, "file_name": "folder/a.png", "height": 9, "width": 9}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def as_table(points, header, delimiter=",", decimal="."):
    rows = [delimiter.join(header)] if header else []
    for x, y, name in points:
        numbers = [repr(value).replace(".", decimal) for value in (x, y)]
        quoted = '"' + name.replace('"', '""') + '"'
        rows.append(delimiter.join([*numbers, quoted]))
    return "\n".join(rows) + "\n"


def as_napari(points, shift=0.5):
    rows = ["index,axis-0,axis-1"]
    rows += [f"{n}.0,{y - shift!r},{x - shift!r}" for n, (x, y, _) in enumerate(points)]
    return "\n".join(rows) + "\n"


WRITERS = {
    "qupath": as_qupath,
    "labelme": as_labelme,
    "coco": as_coco,
    "csv": lambda points: as_table(points, ("x", "y", "class")),
    "semicolon": lambda points: as_table(points, ("X", "Y", "Classification"), ";", ","),
    "tab": lambda points: as_table(points, ("centroid_x", "centroid-y", "Class"), "\t"),
    "napari": as_napari,
}
FORMAT_NAMES = {"semicolon": "csv", "tab": "csv"}


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(points=annotated, automatic=st.booleans())
def test_pixels(tmp_path, writer, points, automatic):
    path = tmp_path / "a.txt"
    path.write_text(WRITERS[writer](points), encoding="utf-8")
    wanted = AUTO if automatic else FORMAT_NAMES.get(writer, writer)
    found = read_point_file(path, ReadOptions(), wanted)
    assert list(found) == ["a.png" if writer == "coco" else None]
    (read,) = found.values()
    expected = np.array([(x, y) for x, y, _ in points]).reshape(-1, 2)
    np.testing.assert_allclose(read.xy(), expected, rtol=0, atol=1e-9)
    if writer != "napari":
        assert read.classes == [name for _, _, name in points]
    assert read.regions == []


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(points=annotated, resolution=st.floats(0.05, 2))
def test_micrometres(tmp_path, writer, points, resolution):
    # Half a pixel is half a pixel: napari's and COCO's is added after the conversion.
    physical = [(x * resolution, y * resolution, name) for x, y, name in points]
    shifted = {"shift": 0.5 * resolution} if writer in ("napari", "coco") else {}
    path = tmp_path / "a.txt"
    path.write_text(WRITERS[writer](physical, **shifted), encoding="utf-8")
    (read,) = read_point_file(path, ReadOptions("um", resolution)).values()
    expected = np.array([(x, y) for x, y, _ in points]).reshape(-1, 2)
    np.testing.assert_allclose(read.xy(), expected, rtol=1e-9, atol=1e-9)

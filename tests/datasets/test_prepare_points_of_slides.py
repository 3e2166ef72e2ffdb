"""``datasets/prepare_points.py`` with a slide: its tiles have its pixels and points."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import tifffile

from selfsam_d2.data.coco_json import load_coco_json
from selfsam_d2.data.images import read_image
from selfsam_d2.slides import reader
from selfsam_d2.slides.backends import OpenSlideFile, TiffSlideFile

pytest.importorskip("tiffslide")

SCRIPT = "prepare_points.py"
MICRONS = 0.5
# Two regions far apart, one over a border of tiles.
REGIONS = [(30, 40, 330, 300), (900, 600, 1000, 690)]
SIZE = (700, 1100)


@pytest.fixture
def slide(tmp_path, svs):
    """A slide and the 30 points of its regions, (N, 2) xy, px."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    cells = [(x0 + 20 * k + 9, y0 + 17 * (k % 5) + 9) for x0, y0, *_ in REGIONS for k in range(15)]
    points = np.array(cells) + rng.uniform(0, 0.9, (30, 2))
    inside = [np.logical_and(points >= box[:2], points < box[2:]).all(axis=1) for box in REGIONS]
    points = points[np.logical_or(*inside)]
    (tmp_path / "slides").mkdir()
    return svs(tmp_path / "slides" / "a.svs", pixels, MICRONS), pixels, points


def geojson(points, factor):
    rings = [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]] for x0, y0, x1, y1 in REGIONS]
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for ring in (np.array(rings) * factor).tolist()
    ]
    geometry = {"type": "MultiPoint", "coordinates": (points * factor).tolist()}
    features.append({"type": "Feature", "geometry": geometry})
    return json.dumps({"type": "FeatureCollection", "features": features})


def arguments(path, tmp_path, *more):
    points = tmp_path / "a.geojson"
    return ("--images", path, "--points", points, "--output", tmp_path / "t.json", *more)


@pytest.mark.parametrize("unit", ["px", "um"])
@pytest.mark.parametrize("as_folder", [False, True])
def test_tiles_have_the_pixels_and_the_points(tmp_path, slide, run_script, unit, as_folder):
    path, pixels, points = slide
    factor = MICRONS if unit == "um" else 1
    (tmp_path / "a.geojson").write_text(geojson(points, factor))
    images = path.parent if as_folder else path
    command = arguments(images, tmp_path, "--unit", unit, "--tile", "256", "--strict")
    status, stdout, stderr = run_script(SCRIPT, *command)
    assert (status, stderr) == (0, "")
    images = json.loads((tmp_path / "t.json").read_text())["images"]
    last = f"{tmp_path / 't.json'}: {len(images)} images, {len(points)} points, 0.5 µm/px"
    assert stdout.splitlines()[-2] == last
    assert {each["microns_per_pixel"] for each in images} == {MICRONS}
    records = load_coco_json(tmp_path / "t.json", tmp_path / "t_tiles")
    offsets = [each["source_offset"] for each in images]
    assert len(records) > 3
    found = []
    for record, (x, y) in zip(records, offsets, strict=True):
        height, width = record["height"], record["width"]
        expected = pixels[y : y + height, x : x + width]
        np.testing.assert_array_equal(read_image(record["file_name"]), expected)
        places = [each["point"] for each in record["annotations"] if "point" in each]
        found += np.add(np.reshape(places, (-1, 2)), (x, y)).tolist()
    np.testing.assert_allclose(sorted(found), sorted(points.tolist()), atol=1e-9)


def test_a_slide_that_fits_into_a_tile_becomes_one(tmp_path, svs, run_script):
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    path = svs(tmp_path / "a.svs", pixels, None)
    (tmp_path / "a.geojson").write_text(POINT)
    status, stdout, stderr = run_script(SCRIPT, *arguments(path, tmp_path))
    assert (status, stderr) == (0, "")
    assert "| a.svs   | 1 " in stdout
    assert stdout.splitlines()[-2].endswith(" 1 images, 1 points")
    assert "microns_per_pixel" not in (tmp_path / "t.json").read_text()
    (record,) = load_coco_json(tmp_path / "t.json", tmp_path / "t_tiles")
    np.testing.assert_array_equal(read_image(record["file_name"]), pixels)
    # A slide that does not know its resolution cannot give it.
    command = arguments(path, tmp_path, "--unit", "um", "--tiles-to", tmp_path / "more")
    status, _, stderr = run_script(SCRIPT, *command)
    assert status == 2
    assert "a.geojson: has points in micrometres; add --microns-per-pixel" in stderr


POINT = '[{"geometry": {"type": "Point", "coordinates": [9, 7]}}]'


def test_slides_without_points_are_named_and_not_opened(tmp_path, svs, run_script):
    folder = tmp_path / "slides"
    folder.mkdir()
    svs(folder / "a.svs", np.full((300, 400, 3), 200, dtype=np.uint8), 0.25)
    (folder / "b.mrxs").write_text("no slide")
    (tmp_path / "a.geojson").write_text(POINT)
    status, stdout, stderr = run_script(SCRIPT, *arguments(folder, tmp_path))
    assert (status, stderr) == (0, "")
    assert "| b.mrxs " in stdout
    assert "WARNING: images without points, left out: b.mrxs\n" in stdout
    more = ("--strict", "--tiles-to", tmp_path / "more")
    status, _, stderr = run_script(SCRIPT, *arguments(folder, tmp_path, *more))
    assert (status, stderr.count("\n")) == (2, 1)
    assert stderr.startswith("error: --strict: 1 image without points (b.mrxs); mend")


def test_images_of_different_resolution_are_named(tmp_path, svs, run_script):
    """A slide, and a TIFF that is read whole."""
    folder, points = tmp_path / "slides", tmp_path / "points"
    for each in (folder, points):
        each.mkdir()
    pixels = np.full((300, 400, 3), 200, dtype=np.uint8)
    svs(folder / "a.svs", pixels, 0.25)
    tags = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(folder / "b.tif", pixels, photometric="rgb", compression="zlib", **tags)
    for name in "ab":
        (points / f"{name}.geojson").write_text(POINT)
    command = ("--images", folder, "--points", points, "--output", tmp_path / "t.json")
    status, stdout, stderr = run_script(SCRIPT, *command)
    assert (status, stderr) == (0, "")
    differ = "0.25 µm/px: a.svs; 0.5 µm/px: b.tif"
    assert stdout.splitlines()[-3].startswith("WARNING: images of different resolution, which a")
    assert stdout.splitlines()[-3].endswith(differ)
    assert stdout.splitlines()[-2].endswith("2 images, 2 points, 0.25 to 0.5 µm/px")
    more = ("--strict", "--tiles-to", tmp_path / "more")
    status, _, stderr = run_script(SCRIPT, *command, *more)
    assert status == 2
    assert f"images of different resolution ({differ})" in stderr


def test_memory_never_holds_the_slide(tmp_path, run_script):
    side = 6144
    tile = np.full((512, 512, 3), 200, dtype=np.uint8)
    path = tmp_path / "a.svs"
    count = (side // 512) ** 2
    tifffile.imwrite(
        path, (tile for _ in range(count)), shape=(side, side, 3), dtype=np.uint8,
        tile=(512, 512), photometric="rgb", compression="zlib", metadata=None,
        description=f"Aperio Image Library v12\r\n{side}x{side}|MPP = 0.5",
    )  # fmt: skip
    points = np.array([[50.0, 60], [3000, 3100], [6100, 6000]])
    (tmp_path / "a.geojson").write_text(
        json.dumps([{"geometry": {"type": "MultiPoint", "coordinates": points.tolist()}}])
    )
    tracemalloc.start()
    status, _, stderr = run_script(SCRIPT, *arguments(path, tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (status, stderr) == (0, "")
    assert len(list((tmp_path / "t_tiles").iterdir())) == 3
    assert peak < side * side * 3 / 4


def test_a_large_tiff_that_no_slide_library_takes_is_read_whole(tmp_path, run_script, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 255, (600, 700, 3), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, tile=(64, 64), photometric="rgb", compression="zlib"
    )
    (tmp_path / "a.geojson").write_text(POINT)
    monkeypatch.setattr(reader, "LARGE", 1000)

    def refuse(self, path):
        raise ValueError("one piece")

    for library in (TiffSlideFile, OpenSlideFile):
        monkeypatch.setattr(library, "__init__", refuse)
    more = ("--tile", "256")
    status, _, stderr = run_script(SCRIPT, *arguments(tmp_path / "a.tif", tmp_path, *more))
    assert (status, stderr) == (0, "")
    (tile,) = (tmp_path / "t_tiles").iterdir()
    np.testing.assert_array_equal(read_image(tile), pixels[:256, :256])
    (tmp_path / "a.tif").rename(tmp_path / "a.svs")
    more = ("--tiles-to", tmp_path / "more")
    status, _, stderr = run_script(SCRIPT, *arguments(tmp_path / "a.svs", tmp_path, *more))
    assert status == 2
    assert "damaged or not a slide that can be read" in stderr

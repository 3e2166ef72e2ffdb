"""``datasets/prepare_points.py`` run as a command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from selfsam_d2.data.coco_json import load_coco_json
from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.data.registration import register_nuclei_instances

SCRIPT = "prepare_points.py"
WIDTH, HEIGHT = 120, 90


def geojson(*points, region=None):
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "MultiPoint", "coordinates": [list(each) for each in points]},
            "properties": {"objectType": "annotation", "classification": {"name": "Nucleus"}},
        }
    ]
    if region is not None:
        x0, y0, x1, y1 = region
        ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": {}})
    return json.dumps({"type": "FeatureCollection", "features": features})


@pytest.fixture
def folders(tmp_path):
    images, points = tmp_path / "images", tmp_path / "points"
    images.mkdir()
    points.mkdir()
    for name, side in (("a.png", 1), ("b.png", 5)):
        Image.new("RGB", (side * WIDTH, side * HEIGHT), (190, 120, 180)).save(images / name)
    (points / "a.geojson").write_text(geojson((10, 20), (30, 40)))
    inside = [(110 + 20 * k, 120 + 15 * k) for k in range(10)]
    (points / "b.geojson").write_text(geojson(*inside, region=(100, 100, 350, 300)))
    return images, points


def arguments(folders, output, *more):
    images, points = folders
    return ("--images", images, "--points", points, "--output", output, *more)


def test_two_images_end_to_end(tmp_path, folders, run_script):
    output = tmp_path / "new" / "train.json"
    status, stdout, stderr = run_script(SCRIPT, *arguments(folders, output, "--tile", "400"))
    assert (status, stderr) == (0, "")
    table = [line.strip("|").split("|") for line in stdout.splitlines()]
    rows = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in table}
    assert rows["image"] == ["tiles", "points", "Nucleus", "points cover"]
    assert rows["a.png"] == ["0", "2", "2", "4%"]
    assert rows["b.png"] == ["1", "10", "10", ""]
    assert rows["all"] == ["1", "12", "12", ""]
    below = [line.split(":")[0] for line in stdout.splitlines() if not line.startswith("|")]
    assert below == ["tiles", "points cover", str(output), "use it with"]
    tiles = tmp_path / "new" / "train_tiles"
    assert stdout.splitlines()[-2:] == [
        f"{output}: 2 images, 12 points",
        f"use it with: --register train {output} {tiles}",
    ]
    register_nuclei_instances("prepare_points_test", output, tiles)
    whole, tile = DatasetCatalog.get("prepare_points_test")
    assert [each["point"] for each in whole["annotations"]] == [[10, 20], [30, 40]]
    # 250 x 200 px of region, and what a tile needs around it to be 256 px.
    assert (tile["height"], tile["width"]) == (256, 256)
    crop = PointPromptDatasetMapper(crop=256, scale=(1, 1), shear=0, rotation=0, flip=0)(
        {**tile, "position": 0, "epoch": 0}
    )
    assert (~crop["outside"]).sum() == 250 * 200
    assert len(crop["points"]) == 10
    assert not crop["outside"][tuple(crop["points"].long().flip(1).T)].any()


def test_stdout_and_stderr_of_the_process(tmp_path, folders, run_python):
    (folders[1] / "a.geojson").write_text("{")
    status, stdout, stderr = run_python(
        f"datasets/{SCRIPT}", *arguments(folders, tmp_path / "train.json")
    )
    assert (status, stdout) == (2, "")
    assert stderr.startswith(f"error: {folders[1] / 'a.geojson'}: is not JSON")
    assert stderr.count("\n") == 1


def spoil_outside(images, points):
    (points / "a.geojson").write_text(geojson((10, 20), (10, HEIGHT)))


def spoil_doubles(images, points):
    (points / "a.geojson").write_text(geojson((10, 20), (10.5, 20), (50, 50)))


def spoil_points(images, points):
    (points / "a.geojson").unlink()


def spoil_image(images, points):
    (images / "a.png").unlink()


def spoil_region(images, points):
    (points / "a.geojson").write_text(geojson((10, 20), (50, 50), region=(40, 40, 60, 60)))


def spoil_coverage(images, points):
    corner = [(5 + 6 * k, 5 + 3 * (k % 5)) for k in range(6)]
    (points / "a.geojson").write_text(geojson(*corner))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (spoil_coverage, "1 image with points in one part only, without an outline (a.png: 3%)"),
        (spoil_outside, "1 point outside its image (a.png at 10.0, 90.0)"),
        (spoil_doubles, "1 point less than 2 px from another (a.png at 10.5, 20.0)"),
        (spoil_points, "1 image without points (a.png)"),
        (spoil_image, "1 point file without an image (a.geojson)"),
        (spoil_region, "1 point outside of the regions (a.png at 10.0, 20.0)"),
    ],
)
def test_strict_writes_nothing(tmp_path, folders, run_script, spoil, problem):
    spoil(*folders)
    output = tmp_path / "new" / "train.json"
    status, stdout, stderr = run_script(SCRIPT, *arguments(folders, output, "--strict"))
    assert status == 2
    assert stderr.startswith(f"error: --strict: {problem}")
    assert stderr.count("\n") == 1
    assert "| all" in stdout
    assert not output.parent.exists()
    status, _, stderr = run_script(SCRIPT, *arguments(folders, output))
    assert (status, stderr) == (0, "")
    root = folders[0]
    assert all(record["annotations"] for record in load_coco_json(output, root))


def test_a_file_of_another_name_is_a_warning_above_the_last_lines(tmp_path, folders, run_script):
    images, points = folders
    (points / "a.geojson").rename(points / "a points.geojson")
    output = tmp_path / "my set.json"
    status, stdout, stderr = run_script(SCRIPT, *arguments(folders, output))
    assert (status, stderr) == (0, "")
    assert stdout.splitlines()[-4:] == [
        "WARNING: images without points, left out: a.png",
        "WARNING: points without an image, left out: a points.geojson (rename it to a.geojson?)",
        f"{output}: 1 images, 10 points",
        f"use it with: --register 'my set' '{output}' {images}",
    ]


def test_an_image_too_large_to_be_read_may_lie_there_without_points(
    tmp_path, folders, run_script, monkeypatch
):
    Image.new("RGB", (900, 700)).save(folders[0] / "huge.tif")
    (folders[0] / "grey.png").write_text("not opened")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300_000)  # refuses twice as many
    status, stdout, stderr = run_script(SCRIPT, *arguments(folders, tmp_path / "t.json"))
    assert (status, stderr) == (0, "")
    assert "WARNING: images without points, left out: grey.png, huge.tif\n" in stdout
    strict = arguments(folders, tmp_path / "u.json", "--strict")
    status, _, stderr = run_script(SCRIPT, *strict)
    assert (status, stderr.count("\n")) == (2, 1)
    assert "2 images without points (grey.png, huge.tif)" in stderr


def test_the_resolution_that_is_given_goes_into_the_json(tmp_path, folders, run_script):
    output = tmp_path / "t.json"
    given = ("--unit", "px", "--microns-per-pixel", "0.5")
    status, stdout, stderr = run_script(SCRIPT, *arguments(folders, output, *given))
    assert (status, stderr) == (0, "")
    assert stdout.splitlines()[-2] == f"{output}: 2 images, 12 points, 0.5 µm/px"
    records = load_coco_json(output, folders[0])
    assert [record["microns_per_pixel"] for record in records] == [0.5, 0.5]


def test_no_file_of_the_user_is_replaced(tmp_path, folders, run_script):
    images, points = folders
    shapes = [{"label": "", "points": [[9, 9]], "shape_type": "point"}]
    labelme = points / "a.json"
    (points / "a.geojson").unlink()
    labelme.write_text(json.dumps({"shapes": shapes}))
    other = tmp_path / "notes.json"
    other.write_text("{}")
    image = images / "a.png"
    before = {path: path.read_bytes() for path in (labelme, other, image)}
    for single, output in ((False, labelme), (True, labelme), (False, image), (False, other)):
        source = (image, labelme) if single else folders
        status, stdout, stderr = run_script(SCRIPT, *arguments(source, output))
        assert (status, stdout) == (2, "")
        assert stderr.startswith(f"error: {output}: is ")
        assert stderr.endswith("give another --output\n")
        assert stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before
    # What the script wrote itself is made anew.
    for _ in range(2):
        assert run_script(SCRIPT, *arguments((image, labelme), tmp_path / "t.json"))[0] == 0


def test_strict_accepts_what_is_well(tmp_path, folders, run_script):
    status, _, stderr = run_script(SCRIPT, *arguments(folders, tmp_path / "t.json", "--strict"))
    assert (status, stderr) == (0, "")


def test_csv_in_micrometres_of_one_image(tmp_path, folders, run_script):
    table = tmp_path / "points.csv"
    table.write_text("Class,Centroid X µm,Centroid Y µm\nA,5,10\nB,10,10\nA,20.5,30\n")
    output = tmp_path / "t.json"
    command = ("--images", folders[0] / "a.png", "--points", table, "--output", output)
    more = ("--unit", "um", "--microns-per-pixel", "0.5", "--classes", "A", "--format", "csv")
    status, stdout, stderr = run_script(SCRIPT, *command, *more)
    assert (status, stderr) == (0, "")
    assert stdout.endswith(f"use it with: --register t {output} {folders[0]}\n")
    (record,) = load_coco_json(output, folders[0])
    points = np.array([each["point"] for each in record["annotations"]])
    np.testing.assert_allclose(points, [[10, 20], [41, 60]])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--unit", "um"), "a.geojson: has points in micrometres; add --microns-per-pixel"),
        (("--microns-per-pixel", "0"), "--microns-per-pixel: must be above 0"),
        (("--tile", "100"), "--tile: must be at least 224"),
        (("--margin", "-1"), "--margin: must be 0 px or more"),
        (("--margin", "nan"), "--margin: must be 0 px or more"),
        (("--classes", "Tumor"), "--classes: no point has the class Tumor; there are: Nucleus"),
        (("--format", "labelme"), "is not of the format labelme"),
        (("--format", "xml"), "invalid choice"),
    ],
)
def test_bad_options_are_one_line(tmp_path, folders, run_script, options, problem):
    output = tmp_path / "t.json"
    status, _, stderr = run_script(SCRIPT, *arguments(folders, output, *options))
    assert status == 2
    assert stderr.startswith("error: ")
    assert problem in stderr
    assert stderr.count("\n") == 1
    assert not output.exists()

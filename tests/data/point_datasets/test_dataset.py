"""What is written: the JSON is accepted, points keep their pixels, tiles appear whole or not."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_util

from selfsam_d2.data.coco_json import load_coco_json
from selfsam_d2.data.images import read_image
from selfsam_d2.data.point_datasets.dataset import write_point_dataset
from selfsam_d2.data.point_datasets.pairs import ImagePairs
from selfsam_d2.data.point_datasets.point_checks import check_images_and_points
from selfsam_d2.data.point_files.point_set import PointSet
from selfsam_d2.errors import InputError

TISSUE = (200, 100, 180)


def paint(path, size, points):
    """An image in which the pixel of point k has the colour (255, k // 256, k % 256)."""
    pixels = np.full((*size, 3), TISSUE, dtype=np.uint8)
    for k, (x, y) in enumerate(points):
        pixels[int(y), int(x)] = (255, k // 256, k % 256)
    Image.fromarray(pixels).save(path)


def check(folder, sets, tile=300, microns=None):
    """Checked images; a set of points is painted into an image of its name."""
    paths = {}
    for name, (size, points) in sets.items():
        paths[name] = folder / f"{name}.png"
        paint(paths[name], size, points.points)
    points = {name: each for name, (_, each) in sets.items()}
    pairs = ImagePairs(folder, paths, points, microns_per_pixel=microns or {})
    return check_images_and_points(pairs, whole_up_to=tile)


def point_set(points, regions=(), name=""):
    return PointSet([tuple(each) for each in points], [name] * len(points), list(regions))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def test_small_images_are_used_where_they_are(tmp_path, folder):
    regions = [shapely.box(10, 10, 60, 50)]
    sets = {
        "a": ((80, 90), point_set([(20, 20), (70.5, 60.5)], name="Tumor")),
        "b": ((80, 90), point_set([(20.25, 30.75), (80, 70)], regions)),
        "c": ((80, 90), point_set([])),
    }
    output = tmp_path / "new" / "train.json"
    written = write_point_dataset(check(folder, sets), output, tile=300)
    assert (written.images, written.points, written.tiles) == (2, 3, {})
    assert written.image_root == folder
    assert [path.name for path in output.parent.iterdir()] == ["train.json"]
    first, second = load_coco_json(output, folder)
    assert [each["point"] for each in first["annotations"]] == [[20, 20], [70.5, 60.5]]
    point, crowd = second["annotations"]
    assert point["point"] == [20.25, 30.75]
    annotated = mask_util.decode(crowd["segmentation"]) == 0
    assert crowd["iscrowd"] == 1
    assert annotated.sum() == 50 * 40
    assert annotated[10:50, 10:60].all()
    coco = json.loads(output.read_text())
    names = {each["id"]: each["name"] for each in coco["categories"]}
    assert [names[each["category_id"]] for each in coco["annotations"][:3]] == [
        "Tumor",
        "Tumor",
        "nucleus",
    ]


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_tile_shows_the_pixel_of_each_point(tmp_path_factory, seed, drawn):
    rng = np.random.default_rng(seed)
    tmp_path = tmp_path_factory.mktemp("tiles")
    points = np.concatenate([rng.uniform(0, (700, 500), (60, 2)), rng.normal(250, 30, (60, 2))])
    points = np.unique(
        np.floor(points[((points >= 0) & (points < (700, 500))).all(axis=1)]), axis=0
    )
    points += rng.uniform(0, 0.99, points.shape)
    regions = [shapely.box(50, 60, 480, 420), shapely.box(600, 20, 690, 90)] if drawn else []
    checked = check(tmp_path, {"a": ((500, 700), point_set(points, regions))})
    kept = {tuple(point) for point in checked.images[0].points}
    written = write_point_dataset(checked, tmp_path / "train.json", tile=300)
    assert written.points == len(kept) > 10
    sources = {
        each["file_name"]: each["source_offset"]
        for each in json.loads((tmp_path / "train.json").read_text())["images"]
    }
    seen = []
    for record in load_coco_json(tmp_path / "train.json", written.image_root):
        pixels = read_image(record["file_name"])
        offset = np.array(sources[record["file_name"].rsplit("/")[-1]])
        crowd = [each for each in record["annotations"] if each.get("iscrowd")]
        for annotation in record["annotations"]:
            if "point" not in annotation:
                continue
            x, y = annotation["point"]
            red, high, low = map(int, pixels[int(y), int(x)])
            assert red == 255
            seen.append(256 * high + low)
            np.testing.assert_allclose(points[seen[-1]] - offset, (x, y), atol=1e-9)
            # A point that is not at the border of the area is not ignored either.
            if not drawn:
                assert not any(
                    mask_util.decode(each["segmentation"])[int(y), int(x)] for each in crowd
                )
    assert sorted(seen) == sorted(i for i, each in enumerate(points) if tuple(each) in kept)


def test_empty_tiles_of_drawn_regions_teach_background(tmp_path, folder):
    regions = [shapely.box(0, 0, 300, 300), shapely.box(400, 0, 700, 300)]
    checked = check(folder, {"a": ((500, 700), point_set([(20, 20)], regions))})
    written = write_point_dataset(checked, tmp_path / "train.json", tile=300)
    assert (written.images, written.points, written.tiles) == (2, 1, {"a.png": 2})


def test_small_images_go_along_with_tiles(tmp_path, folder):
    sets = {"a": ((400, 400), point_set([(20, 20)])), "b": ((80, 90), point_set([(5, 6)]))}
    tiles = tmp_path / "deep" / "tiles"
    tiles.mkdir(parents=True)  # an empty folder may be there
    checked = check(folder, sets)
    written = write_point_dataset(checked, tmp_path / "t.json", tile=300, tiles_to=tiles)
    assert written.image_root == tiles
    assert {path.name for path in tiles.iterdir()} == {"a_tile0001.png", "b.png"}
    assert len(load_coco_json(tmp_path / "t.json", tiles)) == 2
    assert [path.name for path in tiles.parent.iterdir()] == ["tiles"]
    with pytest.raises(InputError, match="tiles: is there already; remove it or give another"):
        write_point_dataset(checked, tmp_path / "t.json", tile=300, tiles_to=tiles)


def test_the_resolution_goes_into_the_file_where_it_is_known(tmp_path, folder):
    sets = {"a": ((400, 400), point_set([(20, 20)])), "b": ((80, 90), point_set([(5, 6)]))}
    for number, (names, text) in enumerate(
        (((), ""), (("a", "b"), ", 0.5 µm/px"), (("a",), ", 0.5 µm/px (unknown of 1)"))
    ):
        checked = check(folder, sets, microns=dict.fromkeys(names, 0.5))
        output = tmp_path / f"{number}.json"
        written = write_point_dataset(checked, output, tile=300)
        stated = {
            image["file_name"]: image.get("microns_per_pixel", "not there")
            for image in json.loads(output.read_text())["images"]
        }
        expected = {name: 0.5 if name in names else "not there" for name in "ab"}
        assert stated == {"a_tile0001.png": expected["a"], "b.png": expected["b"]}
        assert written.summary().splitlines()[0] == f"{output}: 2 images, 2 points{text}"
        loaded = load_coco_json(output, written.image_root)
        again = [each.get("microns_per_pixel", "not there") for each in loaded]
        assert again == [*stated.values()]


def test_the_command_can_be_copied_into_a_shell(tmp_path, folder):
    blank = tmp_path / "Präparate von $HOME's"
    checked = check(folder, {"a": ((80, 90), point_set([(5, 6)]))})
    checked.image_root = blank / "images"
    written = write_point_dataset(checked, blank / "my set.json", tile=300)
    command = written.summary().splitlines()[1].removeprefix("use it with: ")
    typed = ["sh", "-c", f"printf '%s\n' {command}"]
    printed = subprocess.run(typed, capture_output=True, text=True, check=True).stdout
    expected = ["--register", "my set", str(blank / "my set.json"), str(blank / "images")]
    assert printed.splitlines() == expected
    plain = write_point_dataset(checked, tmp_path / "t.json", tile=300).summary()
    assert plain.splitlines()[1].startswith(f"use it with: --register t {tmp_path}/t.json ")


def leftovers(tmp_path):
    return {path.name for path in tmp_path.iterdir()} - {"images", "blocked"}


def test_nothing_is_half_written(tmp_path, folder):
    sets = {"a": ((400, 400), point_set([(20, 20)])), "b": ((400, 400), point_set([(5, 6)]))}
    checked = check(folder, sets)
    content = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(content[:-60])
    with pytest.raises(InputError, match=r"b\.png: truncated"):
        write_point_dataset(checked, tmp_path / "t.json", tile=300)
    assert leftovers(tmp_path) == set()
    (folder / "b.png").write_bytes(content)
    (tmp_path / "blocked").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_point_dataset(
            checked, tmp_path / "blocked" / "t.json", tile=300, tiles_to=tmp_path / "tiles"
        )
    assert leftovers(tmp_path) == set()
    with pytest.raises(InputError, match="cannot be written"):
        write_point_dataset(
            checked, tmp_path / "t.json", tile=300, tiles_to=tmp_path / "blocked" / "tiles"
        )
    assert leftovers(tmp_path) == set()


def test_no_point_at_all(tmp_path, folder):
    checked = check(folder, {"a": ((80, 90), point_set([]))})
    with pytest.raises(InputError, match=r"no point that can be used: 1 image without points"):
        write_point_dataset(checked, tmp_path / "t.json", tile=300)
    assert leftovers(tmp_path) == set()


def test_an_image_with_the_name_of_a_tile(tmp_path, folder):
    sets = {
        "a": ((400, 400), point_set([(20, 20)])),
        "a_tile0001": ((80, 90), point_set([(5, 6)])),
    }
    with pytest.raises(InputError, match="has the name of a tile"):
        write_point_dataset(check(folder, sets), tmp_path / "t.json", tile=300)
    assert leftovers(tmp_path) == set()

"""Each file of a slide against that of the same pixels as an image, or an independent reader."""

from __future__ import annotations

import csv
import json
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from PIL import Image
from pyarrow import parquet
from pycocotools import mask as coco_mask
from shapely.geometry import shape

from selfsam_d2.outputs import label_pyramid
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.outputs.writers import FORMATS, write_output
from selfsam_d2.slides.grid import tile_grid
from selfsam_d2.slides.labels import write_label_pyramid
from selfsam_d2.slides.nuclei import collect_nuclei
from selfsam_d2.slides.reader import Slide
from selfsam_d2.slides.result import SlideNuclei
from selfsam_d2.slides.seams import settle
from selfsam_d2.slides.store import TileStore
from selfsam_d2.slides.writers import SLIDE_WRITERS, refusal, write_slide_output
from tests.outputs.label_maps import LABEL_MAPS
from tests.outputs.qupath import check_against_labels

SIZE = (190, 150)
SUFFIXES = {"labels": "_labels.ome.tif", "overlay": "_overlay.png", "coco": ".coco.json"}


class ArraySlide(Slide):
    """A slide of one level in memory."""

    def __init__(self, image: Any) -> None:
        self.path = Path("tissue.svs")
        self.image = image
        self.levels = ((image.shape[1], image.shape[0]),)
        self.microns_per_pixel = 0.5

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> Any:
        return self.image[y : y + height, x : x + width]

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def files(planted: Any, finder: Any, tmp_path_factory: Any) -> tuple[Path, Path, Any]:
    """Folder of the slide's files, of the image's, and the prediction of the image."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    image = planted(*SIZE, random.integers(0, SIZE, (60, 2)).tolist())
    slide = ArraySlide(image)
    store = TileStore(folder / "store", {})
    tiles = tile_grid(*SIZE, 64, 16)
    for tile in tiles:
        left, top, right, bottom = tile.region
        found = finder()(image[top:bottom, left:right])
        store.write(tile, collect_nuclei(found, tile, SIZE, 4, 0.5))
    nuclei = SlideNuclei(slide, store, tiles, 0.5)
    whole = finder()(image, name="tissue.svs", microns_per_pixel=0.5)
    assert len(nuclei) == len(whole) > 25
    for name in SLIDE_WRITERS:
        for each, write, source in (
            ("slide", write_slide_output, nuclei), ("image", write_output, whole),
        ):  # fmt: skip
            (folder / each).mkdir(exist_ok=True)
            path = write(name, source, folder / each, "a", "Cell")
            assert path.is_file()
            if each == "slide":
                assert path.name == "a" + SUFFIXES.get(name, f".{name}")
    return folder / "slide", folder / "image", whole


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def by_place(table: list[list[str]]) -> Any:
    """The rows without the id, in the order of the centroids."""
    x, y = table[0].index("x_px"), table[0].index("y_px")
    values = [[float(value) for value in row] for row in table[1:]]
    return np.array(sorted((row[y], row[x], *row[1:]) for row in values))


def test_all_formats_are_there() -> None:
    assert SLIDE_WRITERS.keys() == FORMATS.keys()


def test_tables_hold_the_same_nuclei(files: Any) -> None:
    slide, image = rows(files[0] / "a.csv"), rows(files[1] / "a.csv")
    assert slide[0] == image[0]
    assert [row[0] for row in slide[1:]] == [str(k) for k in range(1, len(files[2]) + 1)]
    np.testing.assert_allclose(by_place(slide), by_place(image), atol=1e-4)
    table = parquet.read_table(files[0] / "a.parquet")
    assert table.column_names == slide[0]
    values = [[float(value) for value in row] for row in slide[1:]]
    assert np.array([table[name] for name in slide[0]]).T.tolist() == values


def test_geojson_holds_the_same_outlines(files: Any) -> None:
    slide, image = (json.loads((folder / "a.geojson").read_text()) for folder in files[:2])
    assert slide.keys() == image.keys()
    assert len({each["id"] for each in slide["features"]}) == len(files[2])
    first, second = (
        sorted(
            (shape(each["geometry"]).normalize().wkt, sorted(each["properties"]["measurements"]))
            for each in content["features"]
        )
        for content in (slide, image)
    )
    assert first == second
    assert not {each["id"] for each in slide["features"]} & {e["id"] for e in image["features"]}
    features = check_against_labels(files[0] / "a.geojson", read_labels(files[0]))
    for feature, row in zip(features, rows(files[0] / "a.csv")[1:], strict=True):
        assert feature["properties"]["name"] == row[0]
        assert shape(feature["geometry"]).area == float(row[2])
        assert feature["properties"]["classification"]["name"] == "Cell"


@given(LABEL_MAPS)
@settings(deadline=None, max_examples=30)
def test_nuclei_of_any_shape_on_seams_are_geojson_of_qupath(map_: Any) -> None:
    """All tiles see the nuclei whole, or cut by their border."""
    size = (map_.shape[1], map_.shape[0])
    image = np.zeros((*map_.shape, 3), dtype=np.uint8)
    tiles = tile_grid(*size, 12, 8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = TileStore(folder / "store", {})
        for tile in tiles:
            left, top, right, bottom = tile.region
            ids, seen = np.unique(map_[top:bottom, left:right], return_inverse=True)
            seen = seen.reshape(bottom - top, right - left) + int(ids[0] != 0)
            found = NucleiPrediction(
                image=image[top:bottom, left:right],
                instance_map=seen.astype(np.int32),
                scores=np.full(seen.max(), 0.9, dtype=np.float32),
                foreground=(seen > 0).astype(np.float32),
            )
            store.write(tile, collect_nuclei(found, tile, size, 4, 0.5))
        nuclei = SlideNuclei(ArraySlide(image), store, tiles, 0.5)
        path = write_slide_output("geojson", nuclei, folder, "a", "Cell")
        write_slide_output("labels", nuclei, folder, "a", "Cell")
        assert len(check_against_labels(path, read_labels(folder))) == len(nuclei)


def read_labels(folder: Path) -> Any:
    return tifffile.imread(folder / "a_labels.ome.tif")


def test_the_label_map_holds_the_nuclei_of_the_table(files: Any) -> None:
    found, expected = read_labels(files[0]), files[2].instance_map
    assert found.shape == expected.shape
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(files[2]) + 1  # one id for each
    area = {int(row[0]): float(row[2]) for row in rows(files[0] / "a.csv")[1:]}
    assert dict(enumerate(np.bincount(found.ravel())[1:].tolist(), start=1)) == area


def test_levels_take_every_second_pixel(files: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The pyramid of a file of small tiles, against the map of the one above."""
    monkeypatch.setattr(label_pyramid, "SMALLEST_LEVEL", 30)
    monkeypatch.setattr(label_pyramid, "TIFF_TILE", (16, 32))
    store = TileStore(files[0].parent / "store", {})
    image = np.zeros((SIZE[1], SIZE[0], 3), dtype=np.uint8)
    nuclei = SlideNuclei(ArraySlide(image), store, tile_grid(*SIZE, 64, 16), 0.5)
    write_label_pyramid(nuclei, tmp_path / "a.tif")
    expected = read_labels(files[0])
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == [(150, 190), (75, 95), (38, 48), (19, 24)]
        for number, level in enumerate(levels):
            np.testing.assert_array_equal(level.asarray(), expected[:: 2**number, :: 2**number])
            assert level.keyframe.tile == (16, 32)
        assert tiff.is_ome
        assert 'PhysicalSizeX="0.5"' in tiff.ome_metadata


def test_coco_masks_are_those_of_the_label_map(files: Any) -> None:
    labels = read_labels(files[0])
    content = json.loads((files[0] / "a.coco.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "tissue.svs", "height": 150, "width": 190}]
    assert len(content["annotations"]) == len(files[2])
    for each in content["annotations"]:
        rle = each["segmentation"]
        np.testing.assert_array_equal(coco_mask.decode(rle), labels == each["id"])
        assert coco_mask.toBbox(rle).tolist() == each["bbox"]
        assert coco_mask.area(rle) == each["area"]


@pytest.fixture
def disagreeing(planted: Any, finder: Any, tmp_path: Path) -> SlideNuclei:
    """Each tile sees other nuclei, so that those at seams lose pixels to those of neighbours."""
    slide = ArraySlide(np.zeros((SIZE[1], SIZE[0], 3), dtype=np.uint8))
    store, tiles = TileStore(tmp_path / "store", {}), tile_grid(*SIZE, 48, 16)
    random = np.random.default_rng(2)
    for tile in tiles:
        left, top, right, bottom = tile.region
        size = (right - left, bottom - top)
        image = planted(*size, random.integers(0, size, (60, 2)).tolist(), radius=4)
        store.write(tile, collect_nuclei(finder()(image), tile, SIZE, 4, 0.5))
    return SlideNuclei(slide, store, tiles, 0.5)


def test_boxes_of_nuclei_trimmed_at_seams_are_tight(
    disagreeing: SlideNuclei, tmp_path: Path
) -> None:
    settled = settle(disagreeing.store, disagreeing.tiles)
    assert sum(map(len, settled.trimmed)) > 5
    path = write_slide_output("coco", disagreeing, tmp_path, "a", "Cell")
    annotations = json.loads(path.read_text())["annotations"]
    assert len(annotations) == len(disagreeing)
    for each in annotations:
        assert coco_mask.toBbox(each["segmentation"]).tolist() == each["bbox"]
        assert coco_mask.area(each["segmentation"]) == each["area"]
    write_label_pyramid(disagreeing, tmp_path / "a.tif")
    areas = np.bincount(tifffile.imread(tmp_path / "a.tif").ravel())[1:]
    assert areas.tolist() == [each["area"] for each in annotations]
    path = write_slide_output("geojson", disagreeing, tmp_path, "a", "Cell")
    check_against_labels(path, tifffile.imread(tmp_path / "a.tif"))


@pytest.mark.parametrize("height", [20, SIZE[1]])
def test_tiles_are_read_once_and_held_while_a_band_needs_them(
    height: int, disagreeing: SlideNuclei, monkeypatch: pytest.MonkeyPatch
) -> None:
    bands = [(top, min(top + height, SIZE[1])) for top in range(0, SIZE[1], height)]
    # Tiles of a row of the grid, one that is drawn and one that is read.
    most = 2 if len(bands) == 1 else 2 * max(tile.column for tile in disagreeing.tiles) + 4
    read, alive = [], []
    keep = SlideNuclei._part

    def part(self: SlideNuclei, number: int) -> Any:
        read.append(number)
        nuclei = keep(self, number)
        alive.append(weakref.ref(nuclei))
        return nuclei

    monkeypatch.setattr(SlideNuclei, "_part", part)
    for parts in disagreeing.parts_in_rows(bands):
        for _ in parts:
            assert sum(each() is not None for each in alive) <= most
    assert len(read) == len(set(read)) == len(disagreeing.tiles)


def test_the_overlay_of_a_small_slide_is_that_of_the_image(files: Any) -> None:
    slide, image = (np.asarray(Image.open(folder / "a_overlay.png")) for folder in files[:2])
    np.testing.assert_array_equal(slide, image)


def test_a_slide_too_large_for_coco_is_refused() -> None:
    assert refusal("coco", 65535, 65537) is None
    assert "65536 x 65536" in (refusal("coco", 65536, 65536) or "")
    assert refusal("labels", 10**6, 10**6) is None

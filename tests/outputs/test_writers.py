"""Each output file, read back by a reader that is not ours where there is one."""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from PIL import Image
from pycocotools.coco import COCO

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.errors import InputError
from selfsam_d2.outputs.measurements import measure_nuclei
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.outputs.writers import FORMATS, existing_output, require_packages, write_output
from selfsam_d2.structures.label_maps import read_label_map
from selfsam_d2.visualization.overlay import PREDICTED_COLOR
from tests.outputs.label_maps import LABEL_MAPS
from tests.outputs.qupath import check_against_labels


def prediction(instance_map: Any, image: Any = None, microns: float | None = None) -> Any:
    count = len(np.unique(instance_map[instance_map > 0]))
    return NucleiPrediction(
        image=np.full((*instance_map.shape, 3), 200, np.uint8) if image is None else image,
        instance_map=instance_map,
        scores=np.linspace(0.6, 0.9, count, dtype=np.float32),
        foreground=(instance_map > 0).astype(np.float32),
        name="tissue.png",
        microns_per_pixel=microns,
    )


@pytest.fixture(scope="module")
def nuclei() -> NucleiPrediction:
    """Nuclei that touch, one in two pieces, one with a hole, one of a single pixel."""
    image, map_ = make_synthetic_image(np.random.default_rng(3), 96, 14)
    map_[:14, :40] = 0
    number = map_.max()
    map_[1:4, 1:4] = map_[4:8, 4:8] = number + 1  # touch at a corner
    map_[2:9, 12:19] = number + 2
    map_[4:6, 14:17] = 0
    map_[3, 30] = number + 3
    ids, compact = np.unique(map_, return_inverse=True)
    assert len(ids) > 10
    return prediction(compact.reshape(map_.shape).astype(np.int32), image, microns=0.25)


def test_geojson_is_that_of_qupath_with_the_nuclei_of_the_map(
    nuclei: NucleiPrediction, tmp_path: Path
) -> None:
    path = write_output("geojson", nuclei, tmp_path, "tissue", class_name="Cell")
    assert path == tmp_path / "tissue.geojson"
    features = check_against_labels(path, nuclei.instance_map)
    assert {each["geometry"]["type"] for each in features} == {"Polygon", "MultiPolygon"}
    table = nuclei.table()
    for row, feature in enumerate(features):
        properties = feature["properties"]
        assert properties["classification"]["name"] == "Cell"
        assert properties["name"] == str(table["id"][row])
        assert properties["measurements"]["area_px"] == table["area_px"][row]
        assert "id" not in properties["measurements"]


@given(LABEL_MAPS)
@settings(deadline=None, max_examples=60)
def test_any_label_map_is_geojson_of_qupath(map_: Any) -> None:
    ids, compact = np.unique(np.append(0, map_), return_inverse=True)
    compact = compact[1:].reshape(map_.shape).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        path = write_output("geojson", prediction(compact, microns=0.25), Path(folder), "a")
        assert len(check_against_labels(path, compact)) == len(ids) - 1


def test_labels_are_a_png_of_16_bits_that_holds_the_map(
    nuclei: NucleiPrediction, tmp_path: Path
) -> None:
    path = write_output("labels", nuclei, tmp_path, "tissue")
    assert path == tmp_path / "tissue_labels.png"
    assert path.read_bytes()[24] == 16
    np.testing.assert_array_equal(read_label_map(path), nuclei.instance_map)


@pytest.mark.parametrize(("count", "suffix"), [(65535, ".png"), (65536, ".ome.tif")])
def test_many_labels_take_32_bits(count: int, suffix: str, tmp_path: Path) -> None:
    map_ = np.zeros(256 * 300, dtype=np.int32)
    map_[:count] = np.arange(1, count + 1)
    many = prediction(map_.reshape(256, 300), microns=0.5)
    path = write_output("labels", many, tmp_path, "many")
    assert path == tmp_path / f"many_labels{suffix}"
    np.testing.assert_array_equal(read_label_map(path), many.instance_map)
    if suffix == ".ome.tif":
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_ome
            assert tiff.pages.first.dtype == np.uint32
            assert tiff.series[0].axes == "YX"
            assert 'PhysicalSizeX="0.5"' in tiff.ome_metadata


def test_many_labels_of_a_large_image_have_a_pyramid(tmp_path: Path) -> None:
    map_ = np.zeros((1030, 2100), dtype=np.int32)
    map_[::5, ::6] = np.arange(1, 206 * 350 + 1).reshape(206, 350)
    path = write_output("labels", prediction(map_, microns=0.5), tmp_path, "many")
    with tifffile.TiffFile(path) as tiff:
        (series,) = tiff.series
        assert [level.shape for level in series.levels] == [(1030, 2100), (515, 1050), (258, 525)]
        for number, level in enumerate(series.levels):
            np.testing.assert_array_equal(level.asarray(), map_[:: 2**number, :: 2**number])
            assert level.dtype == np.uint32


def test_one_file_of_labels_is_left(nuclei: NucleiPrediction, tmp_path: Path) -> None:
    old = tmp_path / "tissue_labels.ome.tif"
    old.write_bytes(b"of an earlier prediction")
    assert existing_output("labels", tmp_path, "tissue") == old
    path = write_output("labels", nuclei, tmp_path, "tissue")
    assert list(tmp_path.iterdir()) == [path]


def test_overlay_differs_from_the_image_at_contours_alone(
    nuclei: NucleiPrediction, tmp_path: Path
) -> None:
    path = write_output("overlay", nuclei, tmp_path, "tissue")
    assert path == tmp_path / "tissue_overlay.png"
    drawn = np.asarray(Image.open(path))
    padded = np.pad(nuclei.instance_map, 1)
    centre = padded[1:-1, 1:-1]
    others = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    contour = (centre > 0) & np.any([other != centre for other in others], axis=0)
    np.testing.assert_array_equal(drawn[~contour], nuclei.image[~contour])
    assert (drawn[contour] == PREDICTED_COLOR).all()


def test_coco_is_read_by_pycocotools_with_the_masks_of_the_map(
    nuclei: NucleiPrediction, tmp_path: Path
) -> None:
    path = write_output("coco", nuclei, tmp_path, "tissue")
    assert path == tmp_path / "tissue.coco.json"
    coco = COCO(str(path))
    assert coco.imgs[1]["file_name"] == "tissue.png"
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == len(nuclei)
    for number, annotation in enumerate(annotations, start=1):
        mask = nuclei.instance_map == number
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == box


def test_csv_is_the_table(nuclei: NucleiPrediction, tmp_path: Path) -> None:
    path = write_output("csv", nuclei, tmp_path, "tissue")
    assert path == tmp_path / "tissue.csv"
    table = nuclei.table()
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == list(table)
    assert "area_um2" in header
    for name, column in zip(header, zip(*rows, strict=True), strict=True):
        np.testing.assert_array_equal(np.array(column, dtype=table[name].dtype), table[name])
    assert all("." not in row[0] for row in rows)  # ids are whole


def test_parquet_is_the_table(nuclei: NucleiPrediction, tmp_path: Path) -> None:
    from pyarrow import parquet

    path = write_output("parquet", nuclei, tmp_path, "tissue")
    assert path == tmp_path / "tissue.parquet"
    read = parquet.read_table(path)
    table = nuclei.table()
    assert read.column_names == list(table)
    for name, column in table.items():
        found = read[name].to_numpy()
        assert found.dtype == column.dtype
        np.testing.assert_array_equal(found, column)


def test_without_pyarrow_parquet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    require_packages(["geojson", "csv"])
    with pytest.raises(InputError, match=r"--formats parquet: .*pip install pyarrow"):
        require_packages(["csv", "parquet"])


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"parquet"}))
def test_an_image_without_nuclei_has_every_file(name: str, tmp_path: Path) -> None:
    path = write_output(name, prediction(np.zeros((20, 30), np.int32)), tmp_path, "empty")
    assert path.stat().st_size > 0
    assert existing_output(name, tmp_path, "empty") == path
    if name == "csv":
        assert path.read_text(encoding="utf-8").count("\n") == 1


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"parquet"}))
def test_a_write_that_fails_leaves_the_old_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = prediction(np.zeros((20, 30), np.int32))
    path = write_output(name, empty, tmp_path, "a.b")
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match=r"a\.b.*No space left"):
        write_output(name, empty, tmp_path, "a.b")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_nuclei_are_measured_once_for_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def measure(*given: Any, **more: Any) -> Any:
        calls.append(given)
        return measure_nuclei(*given, **more)

    monkeypatch.setattr("selfsam_d2.outputs.prediction.measure_nuclei", measure)
    nuclei = prediction(np.eye(20, dtype=np.int32))
    for name in ("geojson", "csv"):
        write_output(name, nuclei, tmp_path, "a")
    nuclei.table().clear()
    assert len(calls) == 1
    assert len(nuclei.table()["id"]) == 1

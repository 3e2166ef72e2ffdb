"""Whole slides through the loop over images: tiles, a stop at each of them, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.options import Outputs, Tiling
from selfsam_d2.prediction.output_models import MODEL_NOTE
from selfsam_d2.prediction.resolution import predict_at_scale, scale_between
from selfsam_d2.prediction.run import plan, predict_images
from selfsam_d2.prediction.sources import find_sources
from selfsam_d2.slides import reader, writers

SIZE = (150, 120)
TILES = 6  # of 64 px


@pytest.fixture
def slide(tmp_path: Path, planted: Any, svs: Any) -> Path:
    random = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    image = planted(*SIZE, random.integers(0, SIZE, (40, 2)).tolist())
    return svs(tmp_path / "in" / "a.svs", image)


def run(
    given: Path,
    predictor: Any,
    formats: tuple[str, ...] = ("csv",),
    tile: int = 64,
    microns: float | None = None,
    **more: Any,
) -> Path:
    tiling = Tiling(tile, 16, more.pop("tissue_only", True))
    outputs = Outputs(given.parents[1] / "out", formats, tiling=tiling, **more)
    predict_images(predictor, plan(find_sources([str(given)], microns), outputs), outputs)
    return outputs.folder


def rows(folder: Path, stem: str = "a") -> Any:
    """Centroids and areas, in order."""
    header, *lines = (folder / f"{stem}.csv").read_text().splitlines()
    names = header.split(",")
    chosen = [names.index(name) for name in ("y_px", "x_px", "area_px")]
    return sorted(tuple(float(line.split(",")[k]) for k in chosen) for line in lines)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != MODEL_NOTE)


def test_tiles_give_what_one_tile_gives(slide: Path, finder: Any, capfd: Any) -> None:
    predictor = finder(0.25)
    out = run(slide, predictor)
    assert len(predictor.seen) == TILES
    assert names(out) == ["a.csv"]
    said, complained = capfd.readouterr()
    tiled = rows(out)
    assert said.startswith(f"{slide}: {len(tiled)} nuclei in {TILES} of {TILES} tiles, ")
    assert complained == ""
    run(slide, finder(0.25), tile=200, overwrite=True)
    np.testing.assert_allclose(rows(out), tiled)
    assert len(tiled) > 15
    assert "area_um2" in (out / "a.csv").read_text()


def test_a_stop_at_each_tile_loses_that_tile_alone(slide: Path, finder: Any, capfd: Any) -> None:
    out = slide.parents[1] / "out"
    for done in range(TILES):
        stopped = finder(stop_at=1)
        if done < TILES - 1:
            with pytest.raises(KeyboardInterrupt):
                run(slide, stopped)
            assert "stopped after 0 of 1 images; started again" in capfd.readouterr().err
            assert names(out) == [".a.tiles"]
        else:
            run(slide, stopped)
        assert len(stopped.seen) == 1
    assert names(out) == ["a.csv"]
    found = rows(out)
    run(slide, finder(), overwrite=True)
    assert rows(out) == found


def test_tiles_of_another_model_are_refused(slide: Path, finder: Any, capfd: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(slide, finder(stop_at=2))
    other = finder()
    other.fingerprint = "other"
    with pytest.raises(InputError, match="1 of 1 images failed"):
        run(slide, other)
    assert other.seen == []
    assert "another model; run it with the same, or remove" in capfd.readouterr().err
    run(slide, other, overwrite=True)
    assert len(other.seen) == TILES


def test_what_was_to_be_overwritten_is_after_a_stop(slide: Path, finder: Any) -> None:
    out = run(slide, finder())
    (out / "a.csv").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        run(slide, finder(stop_at=TILES - 1), overwrite=True)
    assert (out / "a.csv").read_text() == "old"
    again = finder()
    run(slide, again)
    assert len(again.seen) == 1
    assert len(rows(out)) > 15
    run(slide, again)
    assert len(again.seen) == 1  # all is there


def test_a_model_of_half_the_resolution_finds_them_in_place(
    slide: Path, finder: Any, planted: Any, svs: Any
) -> None:
    class Resizing(finder):  # type: ignore[misc, valid-type]
        def __call__(self, image: Any, *, name: str, microns_per_pixel: float | None) -> Any:
            scale = scale_between(self.microns_per_pixel, microns_per_pixel)
            return predict_at_scale(super().__call__, image, scale)

    centres = [(64, 64), (128, 60), (30, 100), (75, 100), (140, 110)]
    svs(slide, planted(*SIZE, centres, radius=9), 0.25)
    out = run(slide, finder())
    expected = rows(out)
    predictor = Resizing(0.5)
    run(slide, predictor, overwrite=True)
    # 64 px of the slide and twice the margin, at half the scale.
    assert max(max(shape) for shape in predictor.seen) <= (64 + 2 * 32) / 2
    found = rows(out)
    assert len(found) == len(expected) == 5
    np.testing.assert_allclose(np.array(found)[:, :2], np.array(expected)[:, :2], atol=0.8)
    np.testing.assert_allclose(np.array(found)[:, 2], np.array(expected)[:, 2], rtol=0.15)


@pytest.mark.parametrize(
    ("model", "said", "given", "words"),
    [
        (0.25, 0.25, None, []),
        (0.25, None, 0.25, []),
        (None, 0.25, None, ["INPUT.NUCLEI.MICRONS_PER_PIXEL"]),
        (0.25, None, None, ["--microns-per-pixel"]),
    ],
)
def test_an_unknown_resolution_is_one_line(
    model: Any, said: Any, given: Any, words: Any, slide: Path, finder: Any, svs: Any, capfd: Any
) -> None:
    svs(slide, np.full((64, 64, 3), 255, np.uint8), said)
    run(slide, finder(model), microns=given, tissue_only=False)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(words)
    for word, line in zip(words, lines, strict=True):
        assert line.startswith(f"{slide}: ")
        assert word in line


def test_tiles_without_tissue_are_left_out(
    slide: Path, finder: Any, planted: Any, svs: Any, capfd: Any
) -> None:
    image = np.full((256, 256, 3), 255, dtype=np.uint8)
    svs(slide, image)
    formats = ("csv", "geojson", "labels", "overlay", "coco", "parquet")
    predictor = finder(0.25)
    out = run(slide, predictor, formats)
    assert predictor.seen == []
    assert "a.svs: no tissue found; --no-tissue-mask" in capfd.readouterr().err
    assert rows(out) == []
    assert json.loads((out / "a.geojson").read_text())["features"] == []
    run(slide, predictor, tissue_only=False, overwrite=True)
    assert len(predictor.seen) == 16
    image[64:128, 64:128] = planted(64, 64, [(32, 32)])
    svs(slide, image)
    predictor = finder(0.25)
    run(slide, predictor, overwrite=True)
    assert 1 <= len(predictor.seen) <= 9
    assert len(rows(out)) == 1


def test_a_broken_slide_among_others_is_one_line(slide: Path, finder: Any, capfd: Any) -> None:
    content = slide.read_bytes()
    (slide.parent / "0.svs").write_bytes(content[:99])
    (slide.parent / "1.svs").write_bytes(content)
    Image.new("RGBA", (20, 20), (230, 190, 215, 0)).save(slide.parent / "b.png")
    with pytest.raises(InputError, match=r"1 of 4 images failed: .*0\.svs$"):
        run(slide.parent / "*", finder(0.25))
    assert names(slide.parents[1] / "out") == ["1.csv", "a.csv", "b.csv"]
    complained = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in complained] == [
        "images", str(slide.parent / "0.svs"), str(slide.parent / "b.png"),
    ]  # fmt: skip
    assert "4 channels; the fourth (alpha) is left out" in complained[2]


def test_a_format_that_cannot_hold_the_slide_is_said_and_the_others_written(
    slide: Path, finder: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(writers, "LARGEST_IMAGE", 100)
    predictor = finder(0.25)
    for _ in range(2):
        with pytest.raises(InputError, match="1 of 1 images failed"):
            run(slide, predictor, ("coco", "csv"))
        assert len(predictor.seen) == TILES
        assert "a.svs: not written as coco: run lengths" in capfd.readouterr().err
        assert names(slide.parents[1] / "out") == ["a.csv"]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_large_plain_image_is_predicted_in_tiles(
    suffix: str, slide: Path, planted: Any, finder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    centres = np.random.default_rng(1).integers(0, SIZE, (40, 2)).tolist()
    slide.unlink()
    image = slide.with_suffix(suffix)
    options = {"compression": "tiff_lzw"} if suffix == ".tif" else {}
    Image.fromarray(planted(*SIZE, centres)).save(image, **options)
    formats = ("csv", "labels", "overlay", "geojson")
    whole = finder(0.25)
    out = run(image, whole, formats)
    assert whole.seen == [(*SIZE[::-1], 3)]
    assert names(out) == ["a.csv", "a.geojson", "a_labels.png", "a_overlay.png"]
    expected = rows(out)
    monkeypatch.setattr(reader, "LARGE", SIZE[0] * SIZE[1] - 1)
    tiled = finder(0.25)
    run(image, tiled, formats, overwrite=True)
    assert len(tiled.seen) == TILES
    assert names(out) == ["a.csv", "a.geojson", "a_labels.ome.tif", "a_overlay.png"]
    np.testing.assert_allclose(rows(out), expected)


@pytest.mark.parametrize(("side", "margin"), [(63, 16), (64, 3), (64, 65)])
def test_sizes_of_tiles_have_a_range(side: int, margin: int) -> None:
    with pytest.raises(InputError, match=r"^--tile"):
        Tiling(side, margin)

"""Which images a command line means, and what is refused before the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from tqdm import tqdm

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.options import Outputs
from selfsam_d2.prediction.slides import SlideFile
from selfsam_d2.prediction.sources import ImageFile, find_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one below, and files that are none."""
    for name in ("b.png", "a.jpg", "c.d.TIF", "below/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 6), (200, 100, 180)).save(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden.png").write_text("none")
    return tmp_path


def found(*inputs: str | Path) -> list[str]:
    return [each.path.name for each in find_sources([str(each) for each in inputs])]


def test_files_folders_and_globs(folder: Path) -> None:
    assert found(folder / "b.png") == ["b.png"]
    assert found(folder) == ["a.jpg", "b.png", "c.d.TIF"]
    assert found(folder / "*.png") == ["b.png"]
    assert found(folder / "**" / "*") == ["a.jpg", "b.png", "e.png", "c.d.TIF"]
    assert [each.stem for each in find_sources([str(folder)])] == ["a", "b", "c.d"]


def test_an_image_that_is_named_twice_is_one(folder: Path) -> None:
    assert found(folder / "b.png", folder, folder / "b.png") == ["b.png", "a.jpg", "c.d.TIF"]


def test_a_name_with_brackets_is_a_file(folder: Path) -> None:
    (folder / "b.png").rename(folder / "b[1].png")
    assert found(folder / "b[1].png") == ["b[1].png"]


def test_one_stem_twice_names_both(folder: Path) -> None:
    (folder / "below" / "b.tif").write_bytes((folder / "b.png").read_bytes())
    with pytest.raises(InputError) as error:
        find_sources([str(folder), str(folder / "below")])
    assert str(folder / "b.png") in str(error.value)
    assert str(folder / "below" / "b.tif") in str(error.value)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("nothing.png", "no such file"),
        ("*.bmp", "no image matches"),
        ("none", "no image in this folder"),
    ],
)
def test_what_cannot_be_found_is_one_line(given: str, word: str, folder: Path) -> None:
    (folder / "none").mkdir()
    with pytest.raises(InputError, match=word) as error:
        find_sources([str(folder / given)])
    assert str(error.value).count("\n") == 0


def test_slides_are_found_beside_images_and_alone(folder: Path) -> None:
    (folder / "slides").mkdir()
    (folder / "slides" / "x.SVS").write_bytes(b"")
    (folder / "y.ndpi").write_bytes(b"")
    assert found(folder) == ["y.ndpi", "a.jpg", "b.png", "c.d.TIF"]
    for given in ("slides", "slides/*", "slides/x.SVS"):
        (source,) = find_sources([str(folder / given)], 0.25)
        assert source == SlideFile(folder / "slides" / "x.SVS", 0.25)
        assert source.stem == "x"


def test_an_image_is_handed_to_the_predictor_with_its_name_and_resolution(
    folder: Path, finder: Any, tmp_path: Path
) -> None:
    calls = []

    class Predictor(finder):  # type: ignore[misc, valid-type]
        def __call__(self, image: Any, **more: Any) -> Any:
            calls.append((image.shape, more))
            return super().__call__(image, **more)

    (source,) = find_sources([str(folder / "b.png")], microns_per_pixel=0.5)
    assert source == ImageFile(folder / "b.png", 0.5)
    outputs = Outputs(tmp_path, ("csv",))
    assert source.process(Predictor(), ("csv",), outputs, tqdm(disable=True)) == 0
    assert calls == [((6, 8, 3), {"name": "b.png", "microns_per_pixel": 0.5})]
    assert (tmp_path / "b.csv").is_file()


def test_an_image_has_the_resolution_that_its_file_states_unless_another_is_given(
    folder: Path, finder: Any, tmp_path: Path
) -> None:
    sizes = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    pixels = np.full((6, 8, 3), 200, dtype=np.uint8)
    tifffile.imwrite(folder / "x.ome.tif", pixels, photometric="rgb", metadata=sizes)
    dots = {"resolution": (300, 300), "resolutionunit": "INCH"}
    tifffile.imwrite(folder / "y.tif", pixels, photometric="rgb", **dots)
    given = [str(folder / "x.ome.tif"), str(folder / "y.tif"), str(folder / "b.png")]
    assert [each.microns_per_pixel for each in find_sources(given)] == [0.25, None, None]
    assert [each.microns_per_pixel for each in find_sources(given, 0.5)] == [0.5] * 3
    (source,) = find_sources(given[:1])
    source.process(finder(), ("csv",), Outputs(tmp_path, ("csv",)), tqdm(disable=True))
    assert "area_um2" in (tmp_path / "x.ome.csv").read_text()

"""What Python is given is judged as the file that the tool is given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.data.images import read_image
from selfsam_d2.errors import UnreadableImageError
from selfsam_d2.prediction.given_image import require_microns, rgb_pixels

COLORS = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
SUFFIX = {"CMYK": ".tif", "F": ".tif", "I": ".tif"}  # what PNG cannot hold


def image_of(mode: str) -> Image.Image:
    colors = Image.fromarray(COLORS)
    if mode == "I;16":
        return Image.fromarray(COLORS[..., 0].astype(np.uint16) * 200)
    if mode == "grey P":
        return colors.convert("L").convert("P")
    if mode == "RGBA":
        return Image.fromarray(np.dstack([COLORS, COLORS[..., :1]]))
    return colors.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_those_of_the_file(mode: str, tmp_path: Path) -> None:
    image = image_of(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(rgb_pixels(image), read_image(tmp_path / "a.png"))
    if mode != "P":
        np.testing.assert_array_equal(rgb_pixels(image), COLORS)


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "1", "L", "LA", "CMYK", "grey P"])
def test_what_the_tool_refuses_is_refused(mode: str, tmp_path: Path) -> None:
    image = image_of(mode)
    path = tmp_path / f"a{SUFFIX.get(mode, '.png')}"
    image.save(path)
    with pytest.raises(UnreadableImageError):
        read_image(path)
    named = rf"mode {image.mode}\b.*8-bit RGB.*convert"
    with pytest.raises(ValueError, match=named) as error:
        rgb_pixels(image)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["HSV", "LAB", "YCbCr"])
def test_other_colour_models_are_refused(mode: str) -> None:
    color = Image.new("LAB", (4, 4)) if mode == "LAB" else image_of(mode)
    with pytest.raises(ValueError, match=f"mode {mode}"):
        rgb_pixels(color)


def test_arrays_are_taken_as_they_are() -> None:
    assert rgb_pixels(COLORS) is COLORS


@pytest.mark.parametrize(
    "bad",
    [COLORS.astype(np.uint16), COLORS / 255, COLORS[..., 0], COLORS[..., [0, 1, 2, 0]], COLORS[:0]],
)
def test_other_arrays_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        rgb_pixels(bad)


@pytest.mark.parametrize("microns", [0, 0.0, -0.25, math.inf, -math.inf, math.nan])
def test_no_resolution_of_an_image_is_refused(microns: float) -> None:
    with pytest.raises(ValueError, match=r"`microns_per_pixel` .* above 0, such as 0\.25, but"):
        require_microns(microns)


@pytest.mark.parametrize("microns", [None, 0.25, 1, np.float32(0.5)])
def test_resolutions_and_none_are_taken(microns: float | None) -> None:
    require_microns(microns)

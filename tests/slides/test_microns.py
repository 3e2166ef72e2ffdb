"""The µm/px that TIFF files state, in files that tifffile wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.slides.microns import MICRONS, ome_microns_per_pixel, tiff_microns_per_pixel

PIXELS = np.zeros((8, 8, 3), dtype=np.uint8)
PER_CM, PER_INCH = 10_000, 25_400  # µm


def write(path: Path, **options: Any) -> Path:
    tifffile.imwrite(path, PIXELS, photometric="rgb", **options)
    return path


def tags(per_unit: float, unit: str) -> dict[str, Any]:
    return {"resolution": (per_unit, per_unit), "resolutionunit": unit}


def sizes(x: float, unit: str = "µm") -> dict[str, Any]:
    said = {f"PhysicalSize{axis}": x for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    return {"ome": True, "metadata": {"axes": "YXS", **said, **units}}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        (sizes(0.25), 0.25),
        (sizes(250, "nm"), 0.25),
        (sizes(352.8), None),
        (tags(40_000, "CENTIMETER"), 0.25),
        (tags(101_600, "INCH"), 0.25),
        (tags(40_000, "NONE"), None),
        (tags(0, "CENTIMETER"), None),
        ({**sizes(0.5), **tags(40_000, "CENTIMETER")}, 0.5),  # OME goes first
        ({"ome": True, **tags(40_000, "CENTIMETER")}, 0.25),
        ({**sizes(0.5, "pixel"), **tags(40_000, "CENTIMETER")}, 0.25),
        ({"resolution": (40_000, 20_000), "resolutionunit": "CENTIMETER"}, 0.375),
    ],
)
def test_what_a_file_states(options: Any, expected: float | None, tmp_path: Path) -> None:
    found = tiff_microns_per_pixel(write(tmp_path / "a.TIFF", **options))
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("dpi", [72, 96, 150, 300, 600, 1200, 2400])
def test_screens_and_printers_are_no_microscopes(dpi: int, tmp_path: Path) -> None:
    assert tiff_microns_per_pixel(write(tmp_path / "a.tif", **tags(dpi, "INCH"))) is None
    per_cm = tags(dpi / 2.54, "CENTIMETER")
    assert tiff_microns_per_pixel(write(tmp_path / "a.tif", **per_cm)) is None


@settings(max_examples=25, deadline=None)
@given(microns=st.floats(0.051, 9.9), unit=st.sampled_from(["CENTIMETER", "INCH"]))
def test_any_resolution_of_a_microscope_comes_back(
    microns: float, unit: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "microns.tif"
    per_unit = (PER_CM if unit == "CENTIMETER" else PER_INCH) / microns
    found = tiff_microns_per_pixel(write(path, **tags(per_unit, unit)))
    assert found == pytest.approx(microns, rel=1e-3)
    assert MICRONS[0] < microns < MICRONS[1]


def test_other_files_state_nothing(tmp_path: Path) -> None:
    assert tiff_microns_per_pixel(tmp_path / "no_such.tif") is None
    assert tiff_microns_per_pixel(tmp_path / "no_such.png") is None
    (tmp_path / "broken.tif").write_bytes(b"II*\0none")
    assert tiff_microns_per_pixel(tmp_path / "broken.tif") is None


@pytest.mark.parametrize(
    ("x", "unit", "expected"),
    [("0.25", "µm", 0.25), ("250", "nm", 0.25), ("0.00025", "mm", 0.25), ("25", "px", None),
     ("352.8", "µm", None), ("x", "µm", None), ("nan", "µm", None)],
)  # fmt: skip
def test_resolution_of_ome(x: str, unit: str, expected: float | None) -> None:
    sizes = "".join(f' PhysicalSize{a}="{x}" PhysicalSize{a}Unit="{unit}"' for a in "XY")
    text = f'<OME xmlns="http://www.openmicroscopy.org/x"><Image><Pixels{sizes}/></Image></OME>'
    assert ome_microns_per_pixel(text) == pytest.approx(expected)
    assert ome_microns_per_pixel(text.replace("Physical", "Other")) is None


def test_xml_that_is_broken_or_a_bomb_tells_no_resolution() -> None:
    assert ome_microns_per_pixel("<OME") is None
    bomb = '<!DOCTYPE a [<!ENTITY b "x">]><OME><Image><Pixels PhysicalSizeX="&b;"/></Image></OME>'
    assert ome_microns_per_pixel(bomb) is None
    assert ome_microns_per_pixel(None) is None

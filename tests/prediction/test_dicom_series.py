"""The files of a DICOM slide are one source, whatever way they are named."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfsam_d2.prediction.sources import find_sources

REFUSED = "refused"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that a stub of OpenSlide opened; the text of a file is its series."""
    names: list[str] = []

    class Stub:
        level_dimensions = ((8, 8),)
        level_downsamples = (1.0,)

        def __init__(self, path: Path) -> None:
            names.append(path.name)
            series = path.read_text()
            if series == REFUSED:
                raise RuntimeError("No pyramid levels found")
            self.properties = {"dicom.SeriesInstanceUID": series} if series else {}

        def close(self) -> None:
            names.append(f"{Path(names[-1]).name} closed")

    mpp = {f"PROPERTY_NAME_MPP_{axis}": f"openslide.mpp-{axis.lower()}" for axis in "XY"}
    module = SimpleNamespace(OpenSlide=Stub, OpenSlideError=RuntimeError, **mpp)
    monkeypatch.setitem(sys.modules, "openslide", module)
    return names


def written(folder: Path, **series: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in series.items():
        (folder / f"{name}.dcm").write_text(text)
    return folder


def found(*inputs: str | Path) -> list[str]:
    return [each.path.name for each in find_sources([str(each) for each in inputs])]


def test_a_folder_or_pattern_has_a_source_for_each_series(
    opened: Any, tmp_path: Path, capfd: Any
) -> None:
    folder = written(tmp_path / "s", a="1.2", b="1.3", c="1.2", d=REFUSED, e="1.3")
    (folder / "x.svs").write_bytes(b"")
    for given in (folder, folder / "*"):
        assert found(given) == ["a.dcm", "b.dcm", "x.svs"]
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith(f"{folder / 'd.dcm'}: left out: ")
        assert "No pyramid levels found" in line
    assert [name for name in opened if name.endswith("closed")]


def test_files_of_one_series_that_are_named_one_by_one_are_one(opened: Any, tmp_path: Path) -> None:
    folder = written(tmp_path / "s", a="1.2", b="1.2")
    assert found(folder / "b.dcm", folder / "a.dcm") == ["b.dcm"]


def test_a_single_file_is_not_opened_before_its_turn(opened: list[str], tmp_path: Path) -> None:
    folder = written(tmp_path / "s", a=REFUSED, b="1.2")
    assert found(folder / "a.dcm") == ["a.dcm"]
    assert opened == []


def test_files_that_no_slide_of_their_folder_explains_stay(
    opened: Any, tmp_path: Path, capfd: Any
) -> None:
    """They fail at their turn, and so the run fails."""
    bad = written(tmp_path / "bad", a=REFUSED, b=REFUSED)
    good = written(tmp_path / "good", c="1.2", d="1.2")
    assert found(bad, good) == ["a.dcm", "b.dcm", "c.dcm"]
    assert capfd.readouterr().err == ""


def test_series_are_those_of_a_folder_and_files_without_one_are_slides(
    opened: Any, tmp_path: Path
) -> None:
    one = written(tmp_path / "one", a="1.2", b="")
    two = written(tmp_path / "two", c="1.2", d="")
    assert found(one, two) == ["a.dcm", "b.dcm", "c.dcm", "d.dcm"]


def test_without_openslide_all_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    assert found(written(tmp_path / "s", a="1.2", b="1.2")) == ["a.dcm", "b.dcm"]
    assert capfd.readouterr().err == ""

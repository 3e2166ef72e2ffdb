"""Files that are looked at before they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from selfsam_d2.data.coco_checks import read_coco_object
from selfsam_d2.data.imagescope_xml import read_imagescope_polygons
from selfsam_d2.data.point_files.formats import read_point_file
from selfsam_d2.data.point_files.point_set import ReadOptions
from selfsam_d2.errors import InputError
from selfsam_d2.structures.image_files import MAX_TEXT, require_file


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path, problem in (
        (tmp_path, "is a folder"),
        (tmp_path / "none", "no such file"),
        (tmp_path / ("é" * 300), "no such file"),
        (tmp_path / "a\0b", "no such file"),
    ):
        with pytest.raises(InputError, match=problem):
            require_file(path)


def test_a_file_may_be_as_large_as_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1 << 20))
    require_file(tmp_path / "a")
    require_file(tmp_path / "a", 1 << 20)
    with pytest.raises(InputError, match="a: is larger than 1 MiB; split it by image"):
        require_file(tmp_path / "a", (1 << 20) - 1)


@pytest.mark.parametrize(
    "read",
    [
        read_coco_object,
        read_imagescope_polygons,
        lambda path: read_point_file(path, ReadOptions()),
    ],
    ids=["COCO", "ImageScope", "points"],
)
def test_texts_that_no_memory_holds_are_refused(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(MAX_TEXT + 1)  # takes no room on the disk
    with pytest.raises(InputError, match="is larger than 512 MiB; split it by image"):
        read(path)

"""Which file the dataset may be written to: no file of the user's is lost."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from selfsam_d2.errors import InputError
from selfsam_d2.files import parse_json
from selfsam_d2.structures.image_files import MAX_TEXT, require_file

__all__ = ["INFO", "check_output", "is_earlier_output"]

# What a dataset that was made of points says of itself.
INFO = {"description": "nuclei as points", "crowd_regions": "not annotated"}
MARK = "crowd_regions"


def check_output(output: Path, images: Iterable[Path], point_files: Iterable[Path]) -> None:
    """Check that nothing is lost where the dataset is written; an earlier dataset is replaced.

    Args:
        output: the JSON that will be written.
        images: that are read.
        point_files: that are read.

    Raises:
        InputError: ``output`` is one of these files, by whatever path, or any other file that is
            no dataset made of points.
    """
    if not os.path.lexists(output):
        return
    for what, files in (("image", images), ("point file", point_files)):
        for file in files:
            if _is_same(file, output):
                raise InputError(
                    output, f"is the {what} {file}, which would be lost; give another --output"
                )
    if not is_earlier_output(output):
        raise InputError(
            output, "is there already and no dataset made of points; give another --output"
        )


def is_earlier_output(path: Path) -> bool:
    """Whether a file is a dataset that was made of points, which another one may replace."""
    try:
        require_file(path, MAX_TEXT)
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, InputError):
        return False
    info = content.get("info") if isinstance(content, dict) else None
    return isinstance(info, dict) and MARK in info


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)  # also where it is a link
    except OSError:
        return False

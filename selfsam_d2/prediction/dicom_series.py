"""A DICOM slide is several files of one folder, any of which OpenSlide opens as the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.options import warn
from selfsam_d2.slides.backends import open_slide

__all__ = ["one_file_per_slide"]

DICOM_SUFFIX = ".dcm"


def one_file_per_slide(paths: Iterable[Path]) -> list[Path]:
    """Leave out the DICOM files of slides that another file stands for.

    The first file of each series (SeriesInstanceUID) of a folder stays. What OpenSlide refuses is
    left out, with a line on stderr, where it opened another file of the folder, as labels may
    have a series of their own; elsewhere it stays, and is reported when it is predicted.

    Args:
        paths: files of any kind; a DICOM file that is the only one is not opened.

    Returns:
        in the same order.
    """
    paths = list(dict.fromkeys(paths))
    dicom = [path for path in paths if path.suffix.lower() == DICOM_SUFFIX]
    left_out = set(_left_out(dicom)) if len(dicom) > 1 else set()
    return [path for path in paths if path not in left_out]


def _left_out(paths: list[Path]) -> Iterator[Path]:
    known: set[tuple[Path, str]] = set()
    opened: set[Path] = set()
    refused: dict[Path, str] = {}
    for path in paths:
        folder = path.resolve().parent
        try:
            with open_slide(path) as slide:
                series = slide.series
        except InputError as error:
            refused[path] = str(error).removeprefix(f"{path}: ")
            continue
        opened.add(folder)
        if series is not None and (folder, series) in known:
            yield path
        elif series is not None:
            known.add((folder, series))
    for path, why in refused.items():
        if path.resolve().parent in opened:
            warn(path, f"left out: {why}")
            yield path

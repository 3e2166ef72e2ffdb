"""The files that are made of a prediction: one function per format, and how a file is written."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.files import writing
from selfsam_d2.outputs.geojson import CLASS_NAME
from selfsam_d2.outputs.label_pyramid import write_pyramid
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.outputs.tables import write_csv, write_parquet

__all__ = [
    "FORMATS",
    "LABELS_32_BIT",
    "OutputFormat",
    "existing_output",
    "output_names",
    "replacing",
    "require_packages",
    "write_output",
    "writing",
]

LABELS_16_BIT = "_labels.png"
LABELS_32_BIT = "_labels.ome.tif"
MAX_16_BIT = 65535


@dataclass(frozen=True)
class OutputFormat:
    """How the nuclei of an image become a file.

    Attributes:
        suffixes: of the file, behind the stem of the image's name; more than one where the content
            decides.
        write: writes the nuclei to a path, whatever its name; the last argument is the class name.
        suffix_of: which of the suffixes the file gets.
        picture: the file could be taken for an image to predict.
        package: module that is not among the requirements of this package.
    """

    suffixes: tuple[str, ...]
    write: Callable[[NucleiPrediction, Path, str], None]
    suffix_of: Callable[[NucleiPrediction], str] | None = None
    picture: bool = False
    package: str | None = None


def require_packages(formats: Iterable[str]) -> None:
    """Check that the optional packages of some formats can be imported.

    Raises:
        InputError: one cannot.
    """
    for name in formats:
        package = FORMATS[name].package
        if package is None:
            continue
        try:
            importlib.import_module(package)
        except ImportError as error:
            top = package.split(".")[0]
            raise InputError(
                f"--formats {name}",
                f"needs {top}, which cannot be imported ({error}); python -m pip install {top}",
            ) from error


def output_names(name: str, stem: str) -> tuple[str, ...]:
    """Names that the file of a format may have.

    Args:
        name: of the format, a key of ``FORMATS``.
        stem: of the image's name.
    """
    return tuple(f"{stem}{suffix}" for suffix in FORMATS[name].suffixes)


def existing_output(name: str, folder: Path, stem: str) -> Path | None:
    """The file of a format that a folder holds for an image, None if there is none.

    Args:
        name: of the format, a key of ``FORMATS``.
        folder: of the outputs.
        stem: of the image's name.
    """
    paths = (folder / each for each in output_names(name, stem))
    return next((path for path in paths if path.exists()), None)


def write_output(
    name: str, nuclei: NucleiPrediction, folder: Path, stem: str, class_name: str = CLASS_NAME
) -> Path:
    """Write one file; a reader sees the old file or the whole new one.

    Args:
        name: of the format, a key of ``FORMATS``.
        nuclei: of the image.
        folder: an existing folder.
        stem: of the image's name.
        class_name: class of the nuclei, in the formats that have one.

    Returns:
        the file. One with another suffix of the format is removed.

    Raises:
        OutputError: it cannot be written.
    """
    form = FORMATS[name]
    suffix = form.suffixes[0] if form.suffix_of is None else form.suffix_of(nuclei)
    with replacing(name, folder, stem, suffix) as (path, unfinished):
        form.write(nuclei, unfinished, class_name)
    return path


@contextmanager
def replacing(name: str, folder: Path, stem: str, suffix: str) -> Iterator[tuple[Path, Path]]:
    """The file of a format and a path to write it to, see :func:`selfsam_d2.files.writing`.

    Args:
        name: of the format, a key of ``FORMATS``.
        folder: an existing folder.
        stem: of the name.
        suffix: of the format's. A file with another one of them is removed at the end.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / f"{stem}{suffix}"
    with writing(path) as unfinished:
        yield path, unfinished
    for other in set(FORMATS[name].suffixes) - {suffix}:
        (folder / f"{stem}{other}").unlink(missing_ok=True)


def _write_geojson(nuclei: NucleiPrediction, path: Path, class_name: str) -> None:
    text = json.dumps(nuclei.to_geojson(class_name), allow_nan=False)
    path.write_text(text, encoding="utf-8")


def _write_coco(nuclei: NucleiPrediction, path: Path, _: str) -> None:
    path.write_text(json.dumps(nuclei.to_coco(), allow_nan=False), encoding="utf-8")


def _labels_suffix(nuclei: NucleiPrediction) -> str:
    return LABELS_16_BIT if len(nuclei) <= MAX_16_BIT else LABELS_32_BIT


def _write_labels(nuclei: NucleiPrediction, path: Path, _: str) -> None:
    if _labels_suffix(nuclei) == LABELS_16_BIT:
        Image.fromarray(nuclei.instance_map.astype(np.uint16)).save(path, format="PNG")
        return
    map_ = nuclei.instance_map
    height, width = map_.shape
    write_pyramid(
        path,
        (width, height),
        lambda step, spans: (map_[top:bottom:step, ::step] for top, bottom in spans),
        nuclei.microns_per_pixel,
    )


def _write_overlay(nuclei: NucleiPrediction, path: Path, _: str) -> None:
    Image.fromarray(nuclei.overlay()).save(path, format="PNG")


def _write_csv(nuclei: NucleiPrediction, path: Path, _: str) -> None:
    table = nuclei.table()
    write_csv(path, list(table), [table])


def _write_parquet(nuclei: NucleiPrediction, path: Path, _: str) -> None:
    table = nuclei.table()
    write_parquet(path, list(table), [table])


FORMATS = {
    "geojson": OutputFormat((".geojson",), _write_geojson),
    "labels": OutputFormat(
        (LABELS_16_BIT, LABELS_32_BIT), _write_labels, suffix_of=_labels_suffix, picture=True
    ),
    "overlay": OutputFormat(("_overlay.png",), _write_overlay, picture=True),
    "coco": OutputFormat((".coco.json",), _write_coco),
    "csv": OutputFormat((".csv",), _write_csv),
    "parquet": OutputFormat((".parquet",), _write_parquet, package="pyarrow.parquet"),
}

"""The files that are made of a slide, each written as a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsam_d2.outputs.coco import coco_annotation, coco_head
from selfsam_d2.outputs.geojson import nucleus_feature
from selfsam_d2.outputs.tables import write_csv, write_parquet
from selfsam_d2.outputs.writers import FORMATS, LABELS_32_BIT, replacing
from selfsam_d2.slides.labels import write_label_pyramid
from selfsam_d2.slides.nuclei import TileNuclei
from selfsam_d2.slides.overlay import draw_slide
from selfsam_d2.slides.result import SlideNuclei
from selfsam_d2.structures.outlines import mask_outline
from selfsam_d2.structures.rle_masks import LARGEST_IMAGE, crop_to_rle

__all__ = ["SLIDE_WRITERS", "refusal", "write_slide_output"]


def refusal(name: str, width: int, height: int) -> str | None:
    """Why a format cannot hold a slide of this size; None if it can."""
    if name == "coco" and width * height > LARGEST_IMAGE:
        return (
            f"run lengths of COCO count at most {LARGEST_IMAGE:,} px and {width} x {height} are "
            "more; take geojson or labels"
        )
    return None


def write_slide_output(
    name: str, nuclei: SlideNuclei, folder: Path, stem: str, class_name: str
) -> Path:
    """Write one file, as :func:`selfsam_d2.outputs.writers.write_output` does for an image.

    Args:
        name: of the format, a key of ``SLIDE_WRITERS``.
        nuclei: of the slide.
        folder: an existing folder.
        stem: of the slide's name.
        class_name: class of the nuclei, in the formats that have one.

    Returns:
        the file. One with another suffix of the format is removed.

    Raises:
        InputError: it cannot be written, or a tile cannot be read.
    """
    suffix = LABELS_32_BIT if name == "labels" else FORMATS[name].suffixes[0]
    with replacing(name, folder, stem, suffix) as (path, unfinished):
        SLIDE_WRITERS[name](nuclei, unfinished, class_name)
    return path


def _rows(nuclei: SlideNuclei) -> Iterator[dict[str, NDArray[Any]]]:
    """The table, tile by tile."""
    for first, part in nuclei.parts():
        yield {"id": np.arange(first, first + len(part)), **_values(part, nuclei.columns)}


def _values(part: TileNuclei, columns: list[str]) -> dict[str, NDArray[Any]]:
    measured = {name: part.table[name] for name in columns}
    return {"score": part.scores.astype(np.float64), **measured}


def _write_json(path: Path, head: dict[str, Any], key: str, items: Iterable[Any]) -> None:
    """An object whose last entry is a list that is never in memory as a whole."""
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, allow_nan=False)[:-1] + f', "{key}": [')
        separator = ""
        for item in items:
            file.write(separator + json.dumps(item, allow_nan=False))
            separator = ", "
        file.write("]}")


def _write_geojson(nuclei: SlideNuclei, path: Path, class_name: str) -> None:
    def features() -> Iterator[dict[str, Any]]:
        for first, part in nuclei.parts():
            table = _values(part, nuclei.columns)
            for row, mask in enumerate(part.masks()):
                outline = mask_outline(mask, *part.boxes[row, :2].tolist())
                values = {name: float(column[row]) for name, column in table.items()}
                yield nucleus_feature(outline, first + row, values, nuclei.name, class_name)

    _write_json(path, {"type": "FeatureCollection"}, "features", features())


def _write_coco(nuclei: SlideNuclei, path: Path, _: str) -> None:
    width, height = nuclei.slide.size

    def annotations() -> Iterator[dict[str, Any]]:
        for first, part in nuclei.parts():
            for row, mask in enumerate(part.masks()):
                x0, y0, x1, y1 = part.boxes[row].tolist()
                yield coco_annotation(
                    first + row,
                    crop_to_rle(mask, x0, y0, height, width),
                    [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
                    int(np.count_nonzero(mask)),
                    float(part.scores[row]),
                )

    _write_json(path, coco_head(nuclei.name, width, height), "annotations", annotations())


def _write_labels(nuclei: SlideNuclei, path: Path, _: str) -> None:
    write_label_pyramid(nuclei, path)


def _write_overlay(nuclei: SlideNuclei, path: Path, _: str) -> None:
    Image.fromarray(draw_slide(nuclei)).save(path, format="PNG")


def _write_csv(nuclei: SlideNuclei, path: Path, _: str) -> None:
    write_csv(path, ["id", "score", *nuclei.columns], _rows(nuclei))


def _write_parquet(nuclei: SlideNuclei, path: Path, _: str) -> None:
    write_parquet(path, ["id", "score", *nuclei.columns], _rows(nuclei))


SLIDE_WRITERS: dict[str, Callable[[SlideNuclei, Path, str], None]] = {
    "geojson": _write_geojson,
    "labels": _write_labels,
    "overlay": _write_overlay,
    "coco": _write_coco,
    "csv": _write_csv,
    "parquet": _write_parquet,
}

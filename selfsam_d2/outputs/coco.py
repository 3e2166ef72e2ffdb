"""Nuclei as COCO objects: what images in memory and slides write alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selfsam_d2.data.coco_json import CATEGORY

__all__ = ["coco_annotation", "coco_head"]


def coco_head(name: str, width: int, height: int, image_id: int = 1) -> dict[str, Any]:
    """A COCO object with one image, without its ``annotations``.

    Args:
        name: of the image.
        width: px.
        height: px.
        image_id: of the image.
    """
    return {
        "info": {"description": "predicted nuclei"},
        "images": [{"id": image_id, "file_name": name, "height": height, "width": width}],
        "categories": [CATEGORY],
    }


def coco_annotation(
    number: int,
    rle: Mapping[str, Any],
    box: Sequence[float],
    area: int,
    score: float,
    image_id: int = 1,
) -> dict[str, Any]:
    """One nucleus.

    Args:
        number: its id.
        rle: its mask in the whole image, run lengths of ``pycocotools`` with text as ``counts``.
        box: x, y, width and height of the mask, px.
        area: of the mask, px.
        score: in [0, 1].
        image_id: of the image.
    """
    return {
        "id": number,
        "image_id": image_id,
        "category_id": CATEGORY["id"],
        "segmentation": rle,
        "bbox": list(box),
        "area": area,
        "iscrowd": 0,
        "score": score,
    }

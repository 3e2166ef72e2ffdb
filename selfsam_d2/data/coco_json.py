"""COCO JSON with points: build it from instance maps, write it, load it as Detectron2 dicts.

A nucleus is ``{"id": 7, "image_id": 1, "category_id": 1, "point": [x, y]}``, with the COCO keys of
its mask beside the point or not. Points are continuous pixel coordinates: pixel (row i, column j)
covers [j, j + 1) x [i, i + 1), so its centre is (j + 0.5, i + 0.5).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.structures import BoxMode
from pycocotools import mask as mask_util

from selfsam_d2.data.coco_checks import (
    check_annotations,
    check_image_files,
    check_images,
    read_coco_object,
)
from selfsam_d2.data.segmentations import centre_of_segmentation
from selfsam_d2.errors import InputError, shortened
from selfsam_d2.structures.annotation_masks import annotation_to_rle
from selfsam_d2.structures.centre import nucleus_centres
from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["coco_from_instance_maps", "load_coco_json", "write_coco_json"]

CATEGORY = {"id": 1, "name": "nucleus"}


def coco_from_instance_maps(
    items: Iterable[tuple[str, npt.NDArray[np.integer[Any]]]],
    *,
    points_only: bool = False,
    centre: str = "centroid",
) -> dict[str, Any]:
    """The COCO object of a set of labelled images.

    Args:
        items: (file name below the image root, instance map (H, W), ids >= 1); taken one at a
            time, so a generator keeps one map in memory.
        points_only: leave out the masks.
        centre: rule that makes the points.

    Returns:
        ``info``, ``images``, ``categories``, ``annotations``; image and annotation ids count from
        1 in the order of ``items`` and of the ids in the map.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (file_name, instance_map) in enumerate(items, start=1):
        height, width = instance_map.shape
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        annotations += _annotations_of_map(
            instance_map, len(annotations) + 1, image_id, points_only=points_only, centre=centre
        )
    info = {"description": "nuclei as points", "centre": centre, "points_only": points_only}
    return {"info": info, "images": images, "categories": [CATEGORY], "annotations": annotations}


def write_coco_json(path: str | Path, coco: dict[str, Any]) -> None:
    """Write a COCO object; a reader sees the old file or the whole new one. Makes the folder.

    Raises:
        InputError: the file or its folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            unfinished = Path(folder) / path.name
            unfinished.write_text(json.dumps(coco), encoding="utf-8")
            os.replace(unfinished, path)
    except OSError as error:
        raise InputError(path, f"cannot be written ({error.strerror})") from error


def load_coco_json(
    json_file: str | Path, image_root: str | Path, centre: str = "centroid"
) -> list[dict[str, Any]]:
    """Load and check a COCO JSON of nuclei.

    Every category counts as nucleus. An annotation without a point gets one from its mask. Crowd
    regions (``iscrowd`` 1) keep their mask and have no point.

    Args:
        json_file: the COCO JSON.
        image_root: folder below which the file names of the images are.
        centre: rule that makes the points that the file does not give.

    Returns:
        One dict per image: ``file_name``, ``height``, ``width``, ``image_id``, where the file
        states it ``microns_per_pixel`` (float), and ``annotations``:
        ``id``, ``category_id`` 0, ``point`` [x, y] and, where the file has masks, ``segmentation``
        (polygons or compressed RLE), ``iscrowd``, ``bbox`` with ``bbox_mode`` XYWH_ABS (that of
        the file, else the tight box of the mask), as Detectron2's own mapper needs them.

    Raises:
        InputError: a file is missing or not of this form, ids repeat, a point is outside its
            image, there is no point at all, an image is missing or of another size than the JSON
            says or not 8-bit RGB.
    """
    json_file = Path(json_file)
    coco = read_coco_object(json_file)
    images = check_images(json_file, coco["images"])
    checked = check_annotations(json_file, coco["annotations"], images)
    files = check_image_files(json_file, images, Path(image_root))
    annotations: dict[Any, list[dict[str, Any]]] = {image_id: [] for image_id in images}
    for annotation in checked:
        image = images[annotation["image_id"]]
        subject = f"{json_file}: annotation {shortened(annotation['id'])}"
        record = _annotation_record(annotation, image["height"], image["width"], centre, subject)
        annotations[image["id"]].append(record)
    if not any("point" in record for records in annotations.values() for record in records):
        raise InputError(json_file, 'no points; give annotations a "point": [x, y] or a mask')
    return [
        {
            "file_name": str(files[image_id]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image_id,
            **_resolution(image),
            "annotations": annotations[image_id],
        }
        for image_id, image in images.items()
    ]


def _resolution(image: dict[str, Any]) -> dict[str, float]:
    microns = image.get("microns_per_pixel")
    return {} if microns is None else {"microns_per_pixel": float(microns)}


def _annotation_record(
    annotation: dict[str, Any], height: int, width: int, centre: str, subject: str
) -> dict[str, Any]:
    record: dict[str, Any] = {"id": annotation["id"], "category_id": 0}
    segmentation = annotation.get("segmentation")
    is_crowd = annotation.get("iscrowd", 0) == 1
    if not is_crowd:
        if annotation.get("point") is not None:
            record["point"] = [float(coordinate) for coordinate in annotation["point"]]
        else:
            record["point"] = centre_of_segmentation(segmentation, height, width, centre, subject)
    if segmentation:
        record["segmentation"] = segmentation
        record["iscrowd"] = int(is_crowd)
    bbox = annotation.get("bbox")
    if segmentation and not bbox:
        bbox = mask_util.toBbox(annotation_to_rle(segmentation, height, width))
    if bbox is not None and len(bbox):
        record["bbox"] = [float(value) for value in bbox]
        record["bbox_mode"] = BoxMode.XYWH_ABS
    return record


def _annotations_of_map(
    instance_map: npt.NDArray[np.integer[Any]],
    first_id: int,
    image_id: int,
    *,
    points_only: bool,
    centre: str,
) -> list[dict[str, Any]]:
    _, points = nucleus_centres(instance_map, centre)
    annotations: list[dict[str, Any]] = [
        {"id": first_id + n, "image_id": image_id, "category_id": CATEGORY["id"], "point": point}
        for n, point in enumerate(points.tolist())
    ]
    if points_only:
        return annotations
    rles = RLEMasks.from_instance_map(instance_map).rles
    boxes = mask_util.toBbox(rles).tolist() if rles else []
    for annotation, rle, box in zip(annotations, rles, boxes, strict=True):
        area = int(mask_util.area(rle))
        annotation |= {"segmentation": rle, "bbox": box, "area": area, "iscrowd": 0}
    return annotations

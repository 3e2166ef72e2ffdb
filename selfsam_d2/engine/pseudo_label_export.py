"""The instance labels S_I of a training set as a COCO dataset that any model can be trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from selfsam_d2.data.coco_json import CATEGORY
from selfsam_d2.data.images import read_image
from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.window_labels import label_image
from selfsam_d2.structures.annotation_masks import crowd_mask
from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["ExportedLabels", "export_labels", "image_root_of"]


@dataclass
class ExportedLabels:
    """A COCO object and what is in it.

    Attributes:
        images: entries of ``images``.
        annotations: nuclei with their masks, and one crowd region an image.
        nuclei: that have a mask.
        left_out: ids of the annotations without a pixel in the labels.
        ignored_pixels: in the crowd regions.
        pixels: of all images.
    """

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    nuclei: int = 0
    left_out: list[int] = field(default_factory=list)
    ignored_pixels: int = 0
    pixels: int = 0

    def coco(self, description: str) -> dict[str, Any]:
        """The COCO object."""
        return {
            "info": {"description": description},
            "images": self.images,
            "categories": [CATEGORY],
            "annotations": self.annotations,
        }

    def summary(self) -> str:
        """One line with the counts."""
        points = self.nuclei + len(self.left_out)
        return (
            f"{len(self.images)} images, {self.nuclei} of {points} nuclei have a mask, "
            f"{len(self.left_out)} left out, "
            f"{self.ignored_pixels / max(self.pixels, 1):.1%} of the pixels ignored"
        )


def image_root_of(dataset_name: str) -> Path:
    """The folder that the file names of a registered dataset are relative to."""
    return Path(MetadataCatalog.get(dataset_name).image_root)


def export_labels(
    model: SelfSAM,
    records: Iterable[dict[str, Any]],
    mapper: PointPromptDatasetMapper,
    *,
    image_root: Path,
    window: int,
    overlap: int,
) -> ExportedLabels:
    """Label whole training images with a model as it is, see :func:`label_image`.

    A nucleus keeps the id of its annotation, its image and its point (shifted, where the config
    shifts points, as it is the point that the label was made from). COCO knows no ignored pixels;
    those of an image become one crowd region (``iscrowd`` 1), which Detectron2 leaves out of the
    training and COCO's metric out of the score, and which this package ignores pixel by pixel.
    Background in a crowd region of the dataset is ignored too: nobody set points there.

    Args:
        model: with ``alpha``, ``consensus`` and ``reprompts`` set.
        records: dataset dicts with points.
        mapper: knows the points.
        image_root: file names are relative to it.
        window: side of a labelling window, px.
        overlap: px shared by neighbouring windows.
    """
    model.eval()
    records = list(records)
    ids = [each["id"] for record in records for each in record["annotations"]]
    next_id = max(ids, default=0) + 1
    exported = ExportedLabels()
    for record in records:
        points = mapper.points(record)
        labels, _ = label_image(
            model,
            torch.from_numpy(read_image(record["file_name"]).transpose(2, 0, 1).copy()),
            torch.from_numpy(points),
            image_id=record["image_id"],
            window=window,
            overlap=overlap,
        )
        _add_image(exported, record, Path(record["file_name"]).relative_to(image_root))
        instances = _without_background_of_crowds(labels["instance_label"], record)
        next_id = _add_labels(exported, record, points, instances, next_id)
    return exported


def _without_background_of_crowds(
    labels: NDArray[np.int32], record: dict[str, Any]
) -> NDArray[np.int32]:
    """Ignore the background where nobody set points; a nucleus with a point stays whole."""
    crowd = crowd_mask(record["annotations"], record["height"], record["width"])
    if crowd is None:
        return labels
    return np.where(crowd & (labels == 0), IGNORE, labels).astype(np.int32)


def _add_image(exported: ExportedLabels, record: dict[str, Any], name: Path) -> None:
    image = {"id": record["image_id"], "file_name": name.as_posix()}
    keys = ("height", "width", "microns_per_pixel")
    exported.images.append(image | {key: record[key] for key in keys if key in record})
    exported.pixels += record["height"] * record["width"]


def _add_labels(
    exported: ExportedLabels,
    record: dict[str, Any],
    points: NDArray[np.float64],
    labels: NDArray[np.int32],
    next_id: int,
) -> int:
    """Add the nuclei and the ignored pixels of one image; the first id that is free then."""
    annotated = [each["id"] for each in record["annotations"] if "point" in each]
    found = np.unique(labels[labels > 0]) - 1
    common = {"image_id": record["image_id"], "category_id": CATEGORY["id"]}
    for index, rle in zip(found.tolist(), RLEMasks.from_instance_map(labels).rles, strict=True):
        point = points[index].tolist()
        exported.annotations.append(
            {"id": annotated[index], **common, "point": point, **_mask_entry(rle, crowd=False)}
        )
    exported.nuclei += len(found)
    exported.left_out += [annotated[index] for index in np.setdiff1d(range(len(points)), found)]
    ignored = labels == IGNORE
    exported.ignored_pixels += int(ignored.sum())
    for rle in RLEMasks.from_instance_map(ignored.astype(np.int32)).rles:
        exported.annotations.append({"id": next_id, **common, **_mask_entry(rle, crowd=True)})
        next_id += 1
    return next_id


def _mask_entry(rle: dict[str, Any], *, crowd: bool) -> dict[str, Any]:
    return {
        "segmentation": rle,
        "bbox": coco_mask.toBbox(rle).tolist(),
        "area": int(coco_mask.area(rle)),
        "iscrowd": int(crowd),
    }

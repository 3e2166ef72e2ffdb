"""Dataset dict -> one training crop with targets made of masks, for heads that need no points.

The crops are those of SelfSAM's own training. Stock heads resize nothing themselves: they get the
crop enlarged, and at evaluation the whole image enlarged as much.

Shapes:
    c: side of a crop at native scale, s: side of what the model gets, N: nuclei in the crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.structures import BitMasks, Instances

from selfsam_d2.data.images import read_image
from selfsam_d2.data.recently_read import RecentlyRead
from selfsam_d2.data.transforms import draw_affine_crop, jitter_color
from selfsam_d2.structures.annotation_masks import annotations_to_map
from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["TARGETS", "MaskDatasetMapper", "instances_of_map"]

TARGETS = ("instances", "sem_seg", "instance_label")
CACHED_BYTES = 512 * 2**20  # of images and label maps, in each worker


class MaskDatasetMapper:
    """Image and masks of a dataset dict -> an augmented crop with the target of one kind of head.

    Everything drawn depends on (seed, position) only, with ``position`` of
    :class:`selfsam_d2.data.schedule.CropSchedule`.

    Args:
        target: ``instances`` (for detectors), ``sem_seg`` (0 background, 1 nuclei) or
            ``instance_label`` (ids).
        crop: c, px.
        side: s, px.
        with_masks: whether ``instances`` have ``gt_masks``.
        ignore_value: of ignored pixels in ``sem_seg``.
        fill: RGB of what lies beyond the image, for ``instances``, which know no ignored pixels;
            otherwise the image is mirrored there, and ignored.
        scale: range of the random resize.
        shear: of the random affine map.
        rotation: degrees.
        flip: probability of a horizontal flip.
        color: see :func:`selfsam_d2.data.transforms.jitter_color`.
        seed: of the run.

    Raises:
        ValueError: ``target`` is unknown.
    """

    @configurable
    def __init__(
        self,
        *,
        target: str,
        crop: int = 224,
        side: int = 224,
        with_masks: bool = True,
        ignore_value: int = 255,
        fill: Sequence[float] = (124.0, 116.0, 104.0),
        scale: tuple[float, float] = (0.8, 1.25),
        shear: float = 0.3,
        rotation: float = 90.0,
        flip: float = 0.5,
        color: float = 0.0,
        seed: int = 0,
    ) -> None:
        if target not in TARGETS:
            raise ValueError(
                f"Expected argument `target` to be one of {TARGETS}, but got {target!r}."
            )
        self.target = target
        self.crop = crop
        self.side = side
        self.with_masks = with_masks
        self.ignore_value = ignore_value
        self.fill = np.rint(fill).astype(np.uint8)
        self.draw = partial(
            draw_affine_crop, scale=scale, shear=shear, rotation=rotation, flip=flip
        )
        self.color = color
        self.seed = seed
        self._records: dict[str, dict[str, Any]] = {}
        self._read = RecentlyRead(self._read_labelled, _bytes_of, CACHED_BYTES)

    @classmethod
    def from_config(cls, cfg: Any, *, target: str) -> dict[str, Any]:
        nuclei = cfg.INPUT.NUCLEI
        return {
            "target": target,
            "crop": nuclei.CROP,
            # SelfSAM's kind of model resizes crops itself, and its losses are on the crop's grid.
            "side": nuclei.CROP if target == "instance_label" else cfg.MODEL.SAM.INPUT_SIDE,
            "with_masks": cfg.MODEL.MASK_ON,
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "fill": cfg.MODEL.PIXEL_MEAN,
            "scale": tuple(nuclei.SCALE),
            "shear": nuclei.SHEAR,
            "rotation": nuclei.ROTATION,
            "flip": nuclei.FLIP,
            "color": nuclei.COLOR,
            "seed": max(cfg.SEED, 0),
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """One crop.

        Args:
            record: dataset dict with ``position``, whose annotations all have masks.

        Returns:
            ``image`` (3, s, s) uint8 RGB; ``file_name``, ``image_id``, ``position``, ``height``,
            ``width``; and the target: ``instances`` with ``gt_boxes``, ``gt_classes`` and
            ``gt_masks`` (BitMasks) of the parts of nuclei inside the crop; or ``sem_seg`` (s, s)
            int64; or ``instance_label`` (s, s) int64, 0 background, ids, -1 ignored. Ignored is
            what only a crowd region covers.
        """
        rng = np.random.default_rng((self.seed, record["position"]))
        self._records[record["file_name"]] = record
        image, labels = self._read(record["file_name"])
        transform = self.draw(rng, image.shape[:2], self.crop).resized(self.side)
        crop = jitter_color(transform.apply_image(image), rng, self.color)
        cropped = transform.apply_segmentation(labels)
        outside = transform.outside(image.shape[:2])
        if self.target == "instances":
            crop[outside] = self.fill
        else:
            cropped[outside] = IGNORE
        return {
            "file_name": record["file_name"],
            "image_id": record["image_id"],
            "position": record["position"],
            "height": self.side,
            "width": self.side,
            "image": torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))),
            self.target: self._make_target(cropped),
        }

    def _make_target(self, labels: np.ndarray) -> Any:
        if self.target == "instances":
            return instances_of_map(labels, with_masks=self.with_masks)
        if self.target == "sem_seg":
            semantic = np.where(labels == IGNORE, self.ignore_value, labels > 0)
            return torch.from_numpy(semantic.astype(np.int64))
        return torch.from_numpy(labels.astype(np.int64))

    def _read_labelled(self, file_name: str) -> tuple[np.ndarray, np.ndarray]:
        record = self._records[file_name]
        labels = annotations_to_map(record["annotations"], record["height"], record["width"])
        return read_image(file_name), labels


def instances_of_map(labels: np.ndarray, *, with_masks: bool = True) -> Instances:
    """The nuclei of an instance map as the target of a detector of Detectron2.

    Args:
        labels: (H, W) integers; 0 background, positive ids, -1 ignored.
        with_masks: whether to add ``gt_masks``.

    Returns:
        Instances in ascending order of the ids: ``gt_boxes`` (tight), ``gt_classes`` (zeros) and
        ``gt_masks`` (BitMasks).
    """
    ids = np.unique(labels[labels > 0])
    instances = Instances(
        labels.shape,
        gt_boxes=RLEMasks.from_instance_map(labels).bounding_boxes(),
        gt_classes=torch.zeros(len(ids), dtype=torch.int64),
    )
    if with_masks:
        instances.gt_masks = BitMasks(torch.from_numpy(labels[None] == ids[:, None, None]))
    return instances


def _bytes_of(labelled: tuple[np.ndarray, np.ndarray]) -> int:
    return sum(each.nbytes for each in labelled)

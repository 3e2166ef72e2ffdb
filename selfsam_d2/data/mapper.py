"""Dataset dict -> one training crop with point prompts; masks are never read in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from detectron2.config import configurable
from pycocotools import mask as coco_mask

from selfsam_d2.data.base_cache import BaseCache
from selfsam_d2.data.images import read_image
from selfsam_d2.data.label_store import LabelStore
from selfsam_d2.data.recently_read import RecentlyRead
from selfsam_d2.data.transforms import (
    AffineCropTransform,
    draw_affine_crop,
    jitter_color,
)
from selfsam_d2.errors import InputError
from selfsam_d2.structures.annotation_masks import annotation_to_rle, crowd_mask
from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.structures.points import shift_points

__all__ = ["ImageDatasetMapper", "PointPromptDatasetMapper", "annotated_points", "share_outside"]

CACHED_BYTES = 512 * 2**20  # of images, in each worker


def annotated_points(
    record: dict[str, Any], *, shift: float = 0.0, law: str = "radius", seed: int = 0
) -> np.ndarray:
    """Points of an image as the annotator set them, with shift noise.

    Args:
        record: dataset dict whose annotations have ``id`` and ``point``.
        shift: s, px.
        law: of the shift, see :func:`shift_points`; ``inside`` needs masks to make the points.
        seed: of the shift.

    Returns:
        (N, 2) float64 xy, px.
    """
    annotations = [each for each in record["annotations"] if "point" in each]

    def contains(index: int, x: float, y: float) -> bool:
        if "segmentation" not in annotations[index]:
            raise InputError(
                record["file_name"], "SHIFT_LAW 'inside' needs masks; use radius, disk or square"
            )
        return _covers(annotations[index], record, x, y)

    return shift_points(
        np.array([each["point"] for each in annotations], dtype=np.float64).reshape(-1, 2),
        distance=shift,
        seed=seed,
        image_id=record["image_id"],
        annotation_ids=[each["id"] for each in annotations],
        size=(record["height"], record["width"]),
        law=law,
        contains=contains if law == "inside" else None,
    )


def _covers(annotation: dict[str, Any], record: dict[str, Any], x: float, y: float) -> bool:
    rle = annotation_to_rle(annotation["segmentation"], record["height"], record["width"])
    return bool(coco_mask.decode(rle)[int(y), int(x)])


def share_outside(
    records: list[dict[str, Any]], points: Callable[[dict[str, Any]], np.ndarray]
) -> float | None:
    """Share of the points that lie outside their own nucleus, for the log of a training.

    Args:
        records: dataset dicts.
        points: record -> (N, 2) xy, px, in the order of its annotations.

    Returns:
        in [0, 1]; None where an annotation has no mask.
    """
    outside = []
    for record in records:
        annotations = [each for each in record["annotations"] if "point" in each]
        if not all(each.get("segmentation") for each in annotations):
            return None
        outside += [
            not _covers(annotation, record, x, y)
            for annotation, (x, y) in zip(annotations, points(record), strict=True)
        ]
    return sum(outside) / len(outside) if outside else None


class PointPromptDatasetMapper:
    """Image and points of a dataset dict -> an augmented crop with point prompts.

    Everything drawn depends on (seed, position) only, with ``position`` of
    :class:`selfsam_d2.data.schedule.CropSchedule`.

    Args:
        crop: c, side of a crop at native scale, px.
        scale: range of the random resize.
        shear: of the random affine map.
        rotation: degrees.
        flip: probability of a horizontal flip.
        color: see :func:`jitter_color`.
        shift: s, shift noise of the annotation, px.
        shift_law: see :func:`selfsam_d2.structures.points.shift_points`.
        shift_seed: of the annotation, not of the run.
        seed: of the run.
        store: folder of stored labels that are augmented with the image, or None.
        base_cache: stored base masks that are augmented with the image, or None.
        without_base: epochs whose labels need no base mask: alpha is 0.
    """

    @configurable
    def __init__(
        self,
        *,
        crop: int = 224,
        scale: tuple[float, float] = (0.8, 1.25),
        shear: float = 0.3,
        rotation: float = 90.0,
        flip: float = 0.5,
        color: float = 0.0,
        shift: float = 0.0,
        shift_law: str = "radius",
        shift_seed: int = 0,
        seed: int = 0,
        store: LabelStore | None = None,
        base_cache: BaseCache | None = None,
        without_base: frozenset[int] = frozenset(),
    ) -> None:
        self.crop = crop
        self.scale = scale
        self.shear = shear
        self.rotation = rotation
        self.flip = flip
        self.color = color
        self.shift = shift
        self.shift_law = shift_law
        self.shift_seed = shift_seed
        self.seed = seed
        self.store = store
        self.base_cache = base_cache
        self.without_base = without_base
        self._read = RecentlyRead(read_image, _bytes_of, CACHED_BYTES)
        self._points: dict[Any, np.ndarray] = {}

    @classmethod
    def from_config(
        cls,
        cfg: Any,
        store: LabelStore | None = None,
        base_cache: BaseCache | None = None,
        without_base: frozenset[int] = frozenset(),
    ) -> dict[str, Any]:
        nuclei = cfg.INPUT.NUCLEI
        return {
            "crop": nuclei.CROP,
            "scale": tuple(nuclei.SCALE),
            "shear": nuclei.SHEAR,
            "rotation": nuclei.ROTATION,
            "flip": nuclei.FLIP,
            "color": nuclei.COLOR,
            "shift": nuclei.SHIFT,
            "shift_law": nuclei.SHIFT_LAW,
            "shift_seed": nuclei.SHIFT_SEED,
            "seed": max(cfg.SEED, 0),
            "store": store,
            "base_cache": base_cache,
            "without_base": without_base,
        }

    def points(self, record: dict[str, Any]) -> np.ndarray:
        """(N, 2) shifted points of an image, px of the image."""
        key = record["file_name"]
        if key not in self._points:
            self._points[key] = annotated_points(
                record, shift=self.shift, law=self.shift_law, seed=self.shift_seed
            )
        return self._points[key]

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """One crop.

        Args:
            record: dataset dict with ``position``.

        Returns:
            ``image`` (3, c, c) uint8 RGB; ``points`` (K, 2) float32 xy, px, inside the crop;
            ``context_points`` (N, 2), all points of the image in the frame of the crop;
            ``outside`` (c, c) bool, beyond the image or in a crowd region (``iscrowd`` 1), where
            nobody set points and nothing counts as background;
            ``image_id``, ``file_name``, ``position``;
            with a store ``prompt_label`` and ``instance_label`` (c, c) int64; with a base cache
            ``base_masks`` (K, c, c) float32, if the epoch of the record needs them.
        """
        rng = np.random.default_rng((self.seed, record["position"]))
        image = self._read(record["file_name"])
        transform = draw_affine_crop(
            rng,
            image.shape[:2],
            self.crop,
            scale=self.scale,
            shear=self.shear,
            rotation=self.rotation,
            flip=self.flip,
        )
        crop = jitter_color(transform.apply_image(image), rng, self.color)
        return {
            "file_name": record["file_name"],
            "image_id": record["image_id"],
            "position": record["position"],
            "height": self.crop,
            "width": self.crop,
            **self.crop_inputs(record, crop, transform),
        }

    def crop_inputs(
        self, record: dict[str, Any], crop: np.ndarray, transform: AffineCropTransform
    ) -> dict[str, Any]:
        """Image, points and labels of one crop as tensors."""
        context = transform.apply_coords(self.points(record))
        inside = ((context >= 0) & (context < self.crop)).all(axis=1)
        inputs = {
            "image": torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))),
            "points": torch.from_numpy(context[inside].astype(np.float32)),
            "context_points": torch.from_numpy(context.astype(np.float32)),
            "outside": torch.from_numpy(_outside(record, transform)),
        }
        if self.base_cache is not None and record.get("epoch") not in self.without_base:
            chosen = np.flatnonzero(inside)
            masks = self.base_cache.crop_masks(record, self.points(record), chosen, transform)
            inputs["base_masks"] = torch.from_numpy(masks)
        if self.store is not None:
            order = np.flatnonzero(inside)
            for name, labels in self.store.read(record).items():
                cropped = transform.apply_segmentation(labels)
                inputs[name] = torch.from_numpy(_renumber(cropped, order, len(context)))
        return inputs


def _outside(record: dict[str, Any], transform: AffineCropTransform) -> np.ndarray:
    size = record["height"], record["width"]
    outside = transform.outside(size)
    crowd = crowd_mask(record["annotations"], *size)
    if crowd is not None:
        outside |= transform.apply_segmentation(crowd.astype(np.uint8)).astype(bool)
    return outside


def _renumber(labels: np.ndarray, inside: np.ndarray, total: int) -> np.ndarray:
    # Ids of the image -> ids of the crop: 1 ... K as in its points, others above K.
    rest = np.setdiff1d(np.arange(total), inside)
    table = np.zeros(total + 2, dtype=np.int64)
    table[1 + np.concatenate([inside, rest]).astype(int)] = np.arange(1, total + 1)
    table[IGNORE] = IGNORE
    return table[labels]


def _bytes_of(image: np.ndarray) -> int:
    return image.nbytes


class ImageDatasetMapper:
    """Dataset dict -> the whole image, for evaluation.

    Args:
        scale: factor by which images are enlarged, for models that resize nothing themselves.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """``image`` (3, H, W) uint8 RGB and the fields of the record, without annotations.

        ``height`` and ``width`` stay those of the file.
        """
        image = read_image(record["file_name"])
        if self.scale != 1:
            height, width = (round(self.scale * side) for side in image.shape[:2])
            matrix = np.array([[self.scale, 0, 0], [0, self.scale, 0]])
            image = AffineCropTransform(matrix, (height, width)).apply_image(image)
        return {
            **{key: value for key, value in record.items() if key != "annotations"},
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        }

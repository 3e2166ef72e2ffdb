"""The nuclei that were found on one image, and the forms in which they are handed on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from selfsam_d2.outputs.coco import coco_annotation, coco_head
from selfsam_d2.outputs.geojson import CLASS_NAME, nuclei_to_geojson
from selfsam_d2.outputs.measurements import measure_nuclei
from selfsam_d2.structures.rle_masks import RLEMasks
from selfsam_d2.visualization.overlay import PREDICTED_COLOR, draw_contours

__all__ = ["NucleiPrediction"]


@dataclass(frozen=True)
class NucleiPrediction:
    """What a model found on an image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        instance_map: (H, W) int32; 0 background, 1 ... N nuclei.
        scores: (N,) float32 in [0, 1], in ascending order of the ids: mean foreground probability.
        foreground: (H, W) float32, probability of nucleus in [0, 1].
        name: of the image.
        microns_per_pixel: of the image; None: unknown.
    """

    image: NDArray[np.uint8]
    instance_map: NDArray[np.int32]
    scores: NDArray[np.float32]
    foreground: NDArray[np.float32]
    name: str = ""
    microns_per_pixel: float | None = None

    def __len__(self) -> int:
        """Number N of nuclei."""
        return len(self.scores)

    def table(self) -> dict[str, NDArray[Any]]:
        """One row per nucleus: ``id``, ``score``, and what :func:`measure_nuclei` measures.

        Returns:
            name of a column -> (N,) values; ``pandas.DataFrame`` and ``pyarrow.table`` take it.
        """
        return dict(self._table)

    @cached_property
    def _table(self) -> dict[str, NDArray[Any]]:
        """Measured once, whatever the number of files that it goes to."""
        measured = measure_nuclei(
            self.image, self.instance_map, microns_per_pixel=self.microns_per_pixel
        )
        return {"id": measured.pop("id"), "score": self.scores.astype(np.float64), **measured}

    def to_geojson(self, class_name: str = CLASS_NAME) -> dict[str, Any]:
        """Contours with scores and measurements as QuPath's GeoJSON, for :func:`json.dump`.

        Args:
            class_name: class of the nuclei in QuPath.
        """
        return nuclei_to_geojson(
            self.instance_map,
            self.scores,
            table={name: column for name, column in self.table().items() if name != "score"},
            name=self._key,
            class_name=class_name,
        )

    @cached_property
    def _key(self) -> str:
        """Tells the image from others, also from those of its name or of none."""
        return f"{self.name}/{hashlib.sha256(self.image.ravel().data).hexdigest()}"

    def to_coco(self, image_id: int = 1, first_id: int = 1) -> dict[str, Any]:
        """A COCO object with one image: RLE masks, boxes (XYWH, px), areas and scores.

        Args:
            image_id: of the image.
            first_id: of its annotations.
        """
        height, width = self.instance_map.shape
        annotations = [
            coco_annotation(
                first_id + row,
                rle,
                coco_mask.toBbox(rle).tolist(),
                int(coco_mask.area(rle)),
                float(self.scores[row]),
                image_id,
            )
            for row, rle in enumerate(RLEMasks.from_instance_map(self.instance_map).rles)
        ]
        return {**coco_head(self.name, width, height, image_id), "annotations": annotations}

    def overlay(self, thickness: int = 1) -> NDArray[np.uint8]:
        """The image with the contour of each nucleus: (H, W, 3) uint8 RGB.

        Args:
            thickness: of the contours, px.
        """
        return draw_contours(self.image, self.instance_map, PREDICTED_COLOR, thickness)

"""The nuclei of a tile, each a crop of bits, so that a slide never needs a map of its size.

Legend: N: number of nuclei.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from selfsam_d2.outputs.measurements import measure_nuclei
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.slides.grid import Tile

__all__ = ["TileNuclei", "collect_nuclei", "table_columns"]

TABLE = "table."  # before the name of a column in the arrays of a file


@dataclass(frozen=True)
class TileNuclei:
    """Nuclei of a tile, in px of level 0 of the slide.

    Attributes:
        boxes: (N, 4) int64, x0, y0, x1, y1, half-open.
        bits: (B,) uint8; the masks within the boxes, row by row, each from a byte of its own on.
        scores: (N,) float32 in [0, 1].
        whole: (N,) bool, the nucleus is not cut by the border of what was predicted.
        in_core: (N,) bool, its centroid lies in the core of the tile.
        table: name of a column -> (N,) float64; what was measured.
    """

    boxes: NDArray[np.int64]
    bits: NDArray[np.uint8]
    scores: NDArray[np.float32]
    whole: NDArray[np.bool_]
    in_core: NDArray[np.bool_]
    table: dict[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def _starts(self) -> NDArray[np.int64]:
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return np.append(0, np.cumsum(-(-sides.prod(axis=1) // 8)))

    def masks(self) -> list[NDArray[np.bool_]]:
        """N masks, each (h, w) bool of the size of its box."""
        starts = self._starts
        masks = []
        for index, (x0, y0, x1, y1) in enumerate(self.boxes.tolist()):
            packed = self.bits[starts[index] : starts[index + 1]]
            flat = np.unpackbits(packed, count=(y1 - y0) * (x1 - x0))
            masks.append(flat.reshape(y1 - y0, x1 - x0).astype(np.bool_))
        return masks

    def select(self, chosen: NDArray[np.bool_]) -> TileNuclei:
        """The nuclei for which ``chosen``, (N,) bool, is true."""
        of_byte = np.repeat(chosen, np.diff(self._starts))
        return TileNuclei(
            boxes=self.boxes[chosen],
            bits=self.bits[of_byte],
            scores=self.scores[chosen],
            whole=self.whole[chosen],
            in_core=self.in_core[chosen],
            table={name: values[chosen] for name, values in self.table.items()},
        )

    def with_masks(
        self, changed: Mapping[int, NDArray[np.bool_]], microns_per_pixel: float | None
    ) -> TileNuclei:
        """Some masks changed within their boxes, which then fit them, and all but stain anew.

        Args:
            changed: index of a nucleus -> (h, w) bool, with at least one pixel.
            microns_per_pixel: of the slide; None: unknown.
        """
        if not changed:
            return self
        masks, boxes = self.masks(), self.boxes.copy()
        table = {name: values.copy() for name, values in self.table.items()}
        for index, mask in changed.items():
            ((rows, columns),) = find_objects(mask.astype(np.uint8))
            masks[index] = fitting = mask[rows, columns]
            x0, y0 = self.boxes[index, :2] + (columns.start, rows.start)
            boxes[index] = (x0, y0, x0 + fitting.shape[1], y0 + fitting.shape[0])
            measured = measure_nuclei(
                np.zeros((*fitting.shape, 3), dtype=np.uint8),
                fitting.astype(np.uint8),
                microns_per_pixel=microns_per_pixel,
                origin=(int(x0), int(y0)),
            )
            for name in table.keys() - {"haematoxylin"}:
                table[name][index] = measured[name][0]
        return replace(self, boxes=boxes, bits=_pack(masks), table=table)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays that ``numpy.savez`` takes."""
        named = {TABLE + name: values for name, values in self.table.items()}
        return {
            "boxes": self.boxes,
            "bits": self.bits,
            "scores": self.scores,
            "whole": self.whole,
            "in_core": self.in_core,
            **named,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> TileNuclei:
        """Back from :meth:`arrays`."""
        return cls(
            boxes=arrays["boxes"],
            bits=arrays["bits"],
            scores=arrays["scores"],
            whole=arrays["whole"],
            in_core=arrays["in_core"],
            table={
                name.removeprefix(TABLE): arrays[name] for name in arrays if name.startswith(TABLE)
            },
        )


def _pack(masks: list[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    packed = [np.packbits(mask) for mask in masks]
    return np.concatenate([np.zeros(0, dtype=np.uint8), *packed])


def table_columns(microns_per_pixel: float | None) -> list[str]:
    """Names of the columns of ``TileNuclei.table``, in their order."""
    blank = np.zeros((1, 1, 3), dtype=np.uint8)
    empty = measure_nuclei(blank, blank[..., 0], microns_per_pixel=microns_per_pixel)
    return [name for name in empty if name != "id"]


def collect_nuclei(
    prediction: NucleiPrediction,
    tile: Tile,
    size: tuple[int, int],
    slack: int,
    microns_per_pixel: float | None = None,
) -> TileNuclei:
    """The nuclei that a tile answers for: those whose centroid is in its core or not far off.

    Two tiles see a nucleus on their seam with other surroundings, and not always with its centroid
    on the same side. So what is within ``slack`` px of the core is kept as well;
    :func:`selfsam_d2.slides.seams.settle` chooses between what overlaps.

    Args:
        prediction: of the region of the tile.
        tile: where it lies.
        size: width and height of the slide, px.
        slack: px.
        microns_per_pixel: of the slide; adds columns in µm; None: unknown.

    Raises:
        ValueError: the prediction is not of the size of the region.
    """
    left, top, right, bottom = tile.region
    if prediction.instance_map.shape != (bottom - top, right - left):
        raise ValueError(
            f"Expected a prediction of {bottom - top} x {right - left} px, but got "
            f"{prediction.instance_map.shape}."
        )
    reach = np.array(tile.core) + slack * np.array([-1, -1, 1, 1])
    windows, chosen = _within(prediction.instance_map, np.array([left, top]), reach)
    number = np.zeros(len(windows) + 1, dtype=np.int32)
    number[1:][chosen] = np.arange(1, chosen.sum() + 1)
    labels = number[prediction.instance_map]
    table = measure_nuclei(
        prediction.image, labels, microns_per_pixel=microns_per_pixel, origin=(left, top)
    )
    del table["id"]
    boxes = windows[chosen] + (left, top, left, top)
    border = (np.array(tile.region) == (0, 0, *size)) | (boxes != tile.region)
    found = TileNuclei(
        boxes=boxes,
        bits=_pack(_crops(labels, windows[chosen])),
        scores=prediction.scores[chosen],
        whole=border.all(axis=1),
        in_core=_inside(table, np.array(tile.core)),
        table=table,
    )
    return found.select(_inside(table, reach))


def _crops(labels: NDArray[np.int32], boxes: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """The mask of nucleus 1, 2 ... in its box."""
    return [
        labels[y0:y1, x0:x1] == number
        for number, (x0, y0, x1, y1) in enumerate(boxes.tolist(), start=1)
    ]


def _within(
    labels: NDArray[np.int32], origin: NDArray[Any], reach: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Boxes of all nuclei in the map, and which of them reach into a box of the slide."""
    boxes = np.array(
        [
            (columns.start, rows.start, columns.stop, rows.stop)
            for rows, columns in find_objects(labels)
        ],
        dtype=np.int64,
    ).reshape(-1, 4)
    placed = boxes + np.tile(origin, 2)
    return boxes, ((placed[:, :2] < reach[2:]) & (placed[:, 2:] > reach[:2])).all(axis=1)


def _inside(table: Mapping[str, NDArray[Any]], box: NDArray[Any]) -> NDArray[np.bool_]:
    x, y = table["x_px"], table["y_px"]
    return np.asarray((box[0] <= x) & (x < box[2]) & (box[1] <= y) & (y < box[3]))

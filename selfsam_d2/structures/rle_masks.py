"""N binary masks as COCO run lengths: the ``pred_masks`` of an image with thousands of nuclei.

Legend: N: number of masks; H, W: height and width of the image in pixels.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
import torch
from detectron2.structures import Boxes
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["LARGEST_IMAGE", "RLEMasks", "crop_to_rle"]

LARGEST_IMAGE = 2**32 - 1  # px, what a run length of pycocotools can count


class RLEMasks:
    """N masks of one image, run-length encoded, for a field of ``detectron2.structures.Instances``.

    1,800 nuclei on 1000 x 1000 pixels are 1.8 GB as a dense (N, H, W) array and about 100 kB here.
    Indexing with an integer and iteration decode one mask at a time, every other index gives an
    :class:`RLEMasks`, so ``instances_to_coco_json`` and ``Visualizer`` of detectron2 take it as it
    is. ``numpy.asarray`` gives the N run-length dicts (dtype object), never a dense array.

    Args:
        rles: N COCO run lengths ``{"size": [H, W], "counts": ...}``; the counts are a compressed
            string (``str`` or ``bytes``) or a list of run lengths.
        height: H.
        width: W.

    Raises:
        ValueError: if the size of a run length is not (height, width), or its counts, given as a
            list, do not sum to that.
    """

    def __init__(self, rles: Sequence[dict[str, Any]], height: int, width: int) -> None:
        self.height = int(height)
        self.width = int(width)
        self.rles: list[dict[str, Any]] = [self._compressed(rle) for rle in rles]

    def _compressed(self, rle: dict[str, Any]) -> dict[str, Any]:
        size = [int(side) for side in rle["size"]]
        if size != [self.height, self.width]:
            raise ValueError(
                f"Expected every mask to be {self.height} x {self.width} pixels, but got {size}."
            )
        counts = rle["counts"]
        if isinstance(counts, (list, tuple)):
            # pycocotools takes the sum on trust and decodes whatever lies in memory beyond it.
            pixels = self.height * self.width
            if sum(counts) != pixels or min(counts) < 0:
                raise ValueError(f"Expected counts that sum to {pixels}, but got {sum(counts)}.")
            counts = coco_mask.frPyObjects({"size": size, "counts": list(counts)}, *size)["counts"]
        # Text and not bytes, so that the dicts can be written to JSON as they are.
        return {"size": size, "counts": counts if isinstance(counts, str) else counts.decode()}

    @classmethod
    def from_instance_map(cls, instance_map: Tensor | NDArray[np.integer[Any]]) -> RLEMasks:
        """Encode the nuclei of an instance map, in the order of their ids.

        The cost is one sort of the runs of the map; no mask is made. A nucleus of several parts
        stays one mask.

        Args:
            instance_map: (H, W) integers, 0 background, positive = nucleus (ids may have gaps),
                negative = ignored.

        Returns:
            One mask per positive id, in ascending order of the ids.
        """
        array = (
            instance_map.detach().cpu().numpy()
            if isinstance(instance_map, Tensor)
            else np.asarray(instance_map)
        )
        if array.ndim != 2:
            raise ValueError(f"Expected `instance_map` to be (H, W), but got shape {array.shape}.")
        height, width = array.shape
        flat = array.ravel(order="F")  # COCO run lengths go down the columns
        if flat.size == 0:
            return cls([], height, width)
        starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        ends = np.append(starts[1:], flat.size)
        ids = flat[starts]
        order = np.argsort(ids, kind="stable")
        order = order[ids[order] > 0]
        runs = np.stack([starts[order], ends[order]], axis=1)
        first_of_id = np.flatnonzero(np.diff(ids[order])) + 1
        groups = np.split(runs, first_of_id) if len(runs) else []
        rles = [
            {"size": [height, width], "counts": _run_lengths(group, flat.size)} for group in groups
        ]
        return cls(rles, height, width)

    def __len__(self) -> int:
        return len(self.rles)

    def __iter__(self) -> Iterator[Tensor]:
        return (self._decode(rle) for rle in self.rles)

    def __getitem__(self, item: int | slice | Sequence[int] | Sequence[bool] | Tensor) -> Any:
        """Choose masks.

        Args:
            item: an integer; or a slice, a list of integers or booleans, a (N,) bool tensor or a
                (M,) long tensor.

        Returns:
            The (H, W) bool mask for an integer, else the :class:`RLEMasks` of the chosen ones.
        """
        if isinstance(item, slice):
            return self._with(self.rles[item])
        array = item.detach().cpu().numpy() if isinstance(item, Tensor) else np.asarray(item)
        if array.ndim == 0 and array.dtype != bool:
            return self._decode(self.rles[operator.index(array.item())])
        if array.ndim != 1:
            raise IndexError(f"Expected an index of one dimension, but got shape {array.shape}.")
        if array.dtype == bool and len(array) != len(self):
            raise IndexError(f"Expected {len(self)} booleans, but got {len(array)}.")
        if array.size and array.dtype != bool and not np.issubdtype(array.dtype, np.integer):
            raise IndexError(f"Expected integers or booleans as index, but got {array.dtype}.")
        positions = np.flatnonzero(array) if array.dtype == bool else array
        return self._with([self.rles[int(position)] for position in positions])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.object_]:
        # Visualizer calls numpy.asarray on the masks; left alone, numpy would stack them.
        array = np.empty(len(self.rles), dtype=object)
        array[:] = self.rles
        return array

    def __repr__(self) -> str:
        return f"RLEMasks(num_masks={len(self)}, height={self.height}, width={self.width})"

    def _with(self, rles: list[dict[str, Any]]) -> RLEMasks:
        chosen = RLEMasks([], self.height, self.width)
        chosen.rles = rles
        return chosen

    def _decode(self, rle: dict[str, Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(coco_mask.decode(rle)).astype(bool))

    def to(self, *args: Any, **kwargs: Any) -> RLEMasks:
        """Return self: run lengths live on the CPU, whatever the device of the other fields."""
        del args, kwargs
        return self

    @staticmethod
    def cat(masks: Sequence[RLEMasks]) -> RLEMasks:
        """Join the masks of one image, as ``Instances.cat`` needs.

        Raises:
            ValueError: if the list is empty or the sizes of the images differ.
        """
        if not masks:
            raise ValueError("Expected at least one RLEMasks to join, but got none.")
        rles = [rle for part in masks for rle in part.rles]
        return RLEMasks(rles, masks[0].height, masks[0].width)

    def any(self, dim: int = 0) -> Tensor:
        """Give the (H, W) bool union of the masks, the only reduction that ``Visualizer`` asks for.

        Raises:
            ValueError: if `dim` is not 0.
        """
        if dim != 0:
            raise ValueError(f"Expected `dim` to be 0, but got {dim}.")
        if not self.rles:
            return torch.zeros(self.height, self.width, dtype=torch.bool)
        return self._decode(coco_mask.merge(self.rles))

    def area(self) -> Tensor:
        """Give the (N,) areas in pixels, int64."""
        return torch.from_numpy(np.asarray(coco_mask.area(self.rles), dtype=np.int64).reshape(-1))

    def bounding_boxes(self) -> Boxes:
        """Give the N tight boxes (x0, y0, x1, y1) in continuous pixel coordinates.

        An empty mask has the box (0, 0, 0, 0).
        """
        boxes = np.asarray(coco_mask.toBbox(self.rles), dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return Boxes(torch.from_numpy(boxes))


def crop_to_rle(mask: NDArray[np.bool_], x: int, y: int, height: int, width: int) -> dict[str, Any]:
    """The run lengths of a mask in a large image, of which only a crop is ever made.

    Args:
        mask: (h, w) bool, with at least one pixel.
        x: of the crop's upper left corner in the image, px; the crop lies inside.
        y: the same.
        height: H; H W is at most ``LARGEST_IMAGE``.
        width: W.

    Returns:
        ``{"size": [H, W], "counts": str}`` as ``pycocotools.mask.encode`` gives it for the image.

    Raises:
        ValueError: the image is too large.
    """
    if height * width > LARGEST_IMAGE:
        raise ValueError(f"Expected at most {LARGEST_IMAGE} px, but got {height} x {width}.")
    steps = np.diff(np.pad(mask.T, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    edges = [
        (np.int64(x) + columns) * height + y + rows
        for columns, rows in (np.nonzero(steps == 1), np.nonzero(steps == -1))
    ]
    # A run that ends with a column goes on at the top of the next one.
    apart = edges[0][1:] != edges[1][:-1]
    runs = np.stack([edges[0][np.append(True, apart)], edges[1][np.append(apart, True)]], axis=1)
    counts = _run_lengths(runs, height * width)
    return RLEMasks([{"size": [height, width], "counts": counts}], height, width).rles[0]


def _run_lengths(runs: NDArray[np.int64], size: int) -> list[int]:
    """Turn the (R, 2) starts and ends of a mask's runs into lengths: background, mask, …"""
    edges = runs.ravel()
    if edges[-1] < size:
        edges = np.append(edges, size)
    lengths: list[int] = np.diff(edges, prepend=0).tolist()
    return lengths

"""The overlaps of two instance maps, from which every metric of :mod:`.metrics` is computed.

Legend: T: number of true nuclei; P: number of predicted nuclei; K: number of overlapping pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ContingencyTable", "check_instance_maps"]

IntArray = NDArray[np.integer[Any]]


def check_instance_maps(true: IntArray, pred: IntArray) -> None:
    """Check that two instance maps can be compared.

    Args:
        true: (H, W) integers, 0 background, positive = nucleus.
        pred: (H, W) integers of the same kind.

    Raises:
        ValueError: if a map is not (H, W) integers, has a negative id, or the sizes differ.
    """
    for name, ids in (("true", true), ("pred", pred)):
        if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(
                f"Expected `{name}` to be (H, W) integers, but got {ids.shape} of {ids.dtype}."
            )
        if ids.size and ids.min() < 0:
            raise ValueError(f"Expected `{name}` to have no negative id, but got {ids.min()}.")
    if true.shape != pred.shape:
        raise ValueError(
            f"Expected maps of one size, but got true {true.shape} and pred {pred.shape}."
        )


def _positions(instance_map: IntArray) -> tuple[NDArray[np.int64], int]:
    """Replace each id by its position among the ids, background first, and count the positions."""
    ids, positions = np.unique(instance_map, return_inverse=True)
    offset = 0 if ids.size and ids[0] == 0 else 1
    return positions.ravel().astype(np.int64) + offset, ids.size + offset


@dataclass(frozen=True)
class ContingencyTable:
    """Areas of the nuclei of two instance maps and of their overlaps, background left out.

    Nuclei are numbered 0 … T - 1 and 0 … P - 1 in ascending order of their ids. The overlaps are
    stored as K triples, sorted by the true nucleus, then by the predicted one.

    Attributes:
        true_areas: (T,) int64, pixels.
        pred_areas: (P,) int64, pixels.
        true_index: (K,) int64, the true nucleus of each overlap.
        pred_index: (K,) int64, the predicted nucleus of each overlap.
        overlaps: (K,) int64, pixels in common, at least 1.
    """

    true_areas: NDArray[np.int64]
    pred_areas: NDArray[np.int64]
    true_index: NDArray[np.int64]
    pred_index: NDArray[np.int64]
    overlaps: NDArray[np.int64]

    @classmethod
    def from_maps(cls, true: IntArray, pred: IntArray) -> ContingencyTable:
        """Count the overlaps.

        Args:
            true: (H, W) integers, 0 background, positive = nucleus; ids may have gaps.
            pred: (H, W) integers of the same kind.

        Raises:
            ValueError: if a map is not (H, W) integers, has a negative id, or the sizes differ.
        """
        check_instance_maps(true, pred)
        true_at, num_true = _positions(true)
        pred_at, num_pred = _positions(pred)
        pairs, counts = np.unique(true_at * num_pred + pred_at, return_counts=True)
        rows, columns = np.divmod(pairs, num_pred)
        both = (rows > 0) & (columns > 0)
        return cls(
            true_areas=np.bincount(true_at, minlength=num_true)[1:],
            pred_areas=np.bincount(pred_at, minlength=num_pred)[1:],
            true_index=rows[both] - 1,
            pred_index=columns[both] - 1,
            overlaps=counts[both].astype(np.int64),
        )

    @property
    def num_true(self) -> int:
        """T."""
        return len(self.true_areas)

    @property
    def num_pred(self) -> int:
        """P."""
        return len(self.pred_areas)

    @property
    def unions(self) -> NDArray[np.int64]:
        """(K,) pixels of the union of the two nuclei of each overlap."""
        areas = self.true_areas[self.true_index] + self.pred_areas[self.pred_index]
        return np.asarray(areas - self.overlaps, dtype=np.int64)

    @property
    def ious(self) -> NDArray[np.float64]:
        """(K,) intersection over union of each overlap, in (0, 1]."""
        return np.asarray(self.overlaps / self.unions, dtype=np.float64)

    def transposed(self) -> ContingencyTable:
        """Give the same table with the two maps in exchanged roles."""
        order = np.lexsort((self.true_index, self.pred_index))
        return ContingencyTable(
            true_areas=self.pred_areas,
            pred_areas=self.true_areas,
            true_index=self.pred_index[order],
            pred_index=self.true_index[order],
            overlaps=self.overlaps[order],
        )

    def best_overlaps(self, score: NDArray[Any]) -> NDArray[np.int64]:
        """Choose, for each true nucleus that overlaps any, the overlap of the highest score.

        Args:
            score: (K,) a number for each overlap; ties go to the prediction of the lower id.

        Returns:
            Positions among the K overlaps, one for each true nucleus that has an overlap.
        """
        order = np.lexsort((self.pred_index, -score, self.true_index))
        _, first = np.unique(self.true_index[order], return_index=True)
        return np.asarray(order[first], dtype=np.int64)

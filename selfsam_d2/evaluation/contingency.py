"""The overlaps of two instance maps, from which every metric of :mod:`.metrics` is computed.

Legend: T: number of true nuclei; P: number of predicted nuclei; K: number of overlapping pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from selfsam_d2.evaluation.runs import find_runs

__all__ = ["ContingencyTable", "check_instance_maps"]

IntArray = NDArray[np.integer[Any]]

LOOK_UP = 64  # largest id / number of runs up to which ids are looked up in a table of all ids


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


def _positions(ids: IntArray) -> tuple[NDArray[np.int64], int]:
    """Replace each id by its position among the ids, background first, and count the positions."""
    largest = int(ids.max(initial=0))
    if largest < LOOK_UP * (ids.size + 1):
        present = np.zeros(largest + 1, dtype=bool)
        present[ids] = True
        present[0] = True
        positions = np.cumsum(present) - 1
        return positions[ids], int(positions[-1]) + 1
    kept = np.unique(np.append(ids, ids.dtype.type(0)))
    return np.searchsorted(kept, ids), kept.size


def _areas(positions: NDArray[np.int64], lengths: NDArray[np.int64], count: int) -> Any:
    """(count - 1,) pixels of each position but the background; exact up to 2^53."""
    return np.bincount(positions, weights=lengths, minlength=count)[1:].astype(np.int64)


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
        runs = find_runs(true, pred)
        return cls.from_runs(runs.lengths, *runs.ids)

    @classmethod
    def from_runs(
        cls, lengths: NDArray[np.int64], true: IntArray, pred: IntArray
    ) -> ContingencyTable:
        """Count the overlaps of maps that are given as runs.

        Args:
            lengths: (R,) pixels of each run.
            true: (R,) its id in the true map, 0 background.
            pred: (R,) its id in the predicted map.
        """
        true_at, num_true = _positions(true)
        pred_at, num_pred = _positions(pred)
        both = (true_at > 0) & (pred_at > 0)
        pairs = coo_array(
            (lengths[both], (true_at[both] - 1, pred_at[both] - 1)),
            shape=(num_true - 1, num_pred - 1),
        ).tocsr()  # adds up the runs of a pair, and sorts
        return cls(
            true_areas=_areas(true_at, lengths, num_true),
            pred_areas=_areas(pred_at, lengths, num_pred),
            true_index=np.repeat(np.arange(num_true - 1), np.diff(pairs.indptr)),
            pred_index=pairs.indices.astype(np.int64),
            overlaps=pairs.data,
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

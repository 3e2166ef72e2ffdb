r"""What became of each nucleus: found, missed, merged or split; and which predictions are spurious.

Symbols: :math:`T_i` the pixels of true nucleus i, :math:`P_j` those of predicted nucleus j. They
are a pair where their IoU is above 0.5, as in F1 and PQ, so each is in one pair at most.
:math:`P_j` *holds* :math:`T_i` where :math:`|T_i \cap P_j| > |T_i| / 2`, and :math:`T_i` holds
:math:`P_j` where :math:`|T_i \cap P_j| > |P_j| / 2`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsam_d2.evaluation.contingency import ContingencyTable

__all__ = ["FOUND", "MERGED", "MISSED", "SPLIT", "SPURIOUS", "ErrorKinds", "classify_nuclei"]

FOUND, MISSED, SPURIOUS, MERGED, SPLIT = "found", "missed", "spurious", "merged", "split"

IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class ErrorKinds:
    """One kind per nucleus.

    Attributes:
        true: id of a true nucleus -> found, missed, merged or split.
        pred: id of a predicted nucleus -> found, spurious, merged or split.
    """

    true: dict[int, str]
    pred: dict[int, str]

    def counts(self) -> dict[str, int]:
        """True nuclei that are found, missed, merged and split, and spurious predictions."""
        true, pred = Counter(self.true.values()), Counter(self.pred.values())
        of_true = {kind: true[kind] for kind in (FOUND, MISSED, MERGED, SPLIT)}
        return {**of_true, SPURIOUS: pred[SPURIOUS]}


def classify_nuclei(true: IntArray, pred: IntArray) -> ErrorKinds:
    """Say of each nucleus of two maps what became of it; the first kind that fits counts.

    True nucleus i is

    * found: in a pair;
    * merged: held by a prediction that holds another true nucleus as well;
    * split: it holds two predictions or more;
    * missed: all else, also where a prediction lies on it with an IoU of 0.5 or less.

    Predicted nucleus j is

    * found: in a pair;
    * merged: it holds two true nuclei or more;
    * split: held by a true nucleus that holds another prediction as well;
    * spurious: all else.

    Args:
        true: T_i, (H, W) integers, 0 background, positive = nucleus; ids may have gaps.
        pred: P_j, (H, W) integers of the same kind.

    Raises:
        ValueError: the maps are not (H, W) integers of one size without a negative id.
    """
    table = ContingencyTable.from_maps(true, pred)
    found, shares, several = _side(table)
    of_true = _kinds(found, merged=shares, split=several, other=MISSED)
    found, shares, several = _side(table.transposed())
    of_pred = _kinds(found, merged=several, split=shares, other=SPURIOUS)
    return ErrorKinds(
        true=dict(zip(_ids(true), of_true, strict=True)),
        pred=dict(zip(_ids(pred), of_pred, strict=True)),
    )


def _side(table: ContingencyTable) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Of each nucleus of the first map: in a pair; shares its holder; holds several."""
    paired = np.zeros(table.num_true, dtype=bool)
    paired[table.true_index[2 * table.overlaps > table.unions]] = True
    held = 2 * table.overlaps > table.true_areas[table.true_index]
    load = np.bincount(table.pred_index[held], minlength=table.num_pred)
    shares = np.zeros(table.num_true, dtype=bool)
    shares[table.true_index[held]] = load[table.pred_index[held]] >= 2
    holds = 2 * table.overlaps > table.pred_areas[table.pred_index]
    several = np.bincount(table.true_index[holds], minlength=table.num_true) >= 2
    return paired, shares, several


def _kinds(found: BoolArray, *, merged: BoolArray, split: BoolArray, other: str) -> list[str]:
    chosen: list[str] = np.select([found, merged, split], [FOUND, MERGED, SPLIT], other).tolist()
    return chosen


def _ids(instance_map: IntArray) -> list[int]:
    ids: list[int] = np.unique(instance_map[instance_map > 0]).tolist()
    return ids

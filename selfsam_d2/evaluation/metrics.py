"""Metrics of nuclei segmentation: pure functions of a true and a predicted instance map.

All take two (H, W) integer arrays, 0 background, positive = nucleus, ids may have gaps; a negative
id is an error. Nuclei are told apart by their ids, so touching nuclei stay apart and a nucleus of
several parts stays one; only :func:`aggregated_jaccard_index_fast` re-labels, as its source does.

Every value lies in [0, 1]. With both maps empty it is not a number; with one map empty it is 0.

Symbols: :math:`T_i` the pixels of true nucleus i, :math:`P_j` those of predicted nucleus j;
:math:`|\\cdot|` the number of pixels; :math:`IoU(i, j) = |T_i \\cap P_j| / |T_i \\cup P_j|`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from selfsam_d2.evaluation.contingency import ContingencyTable, check_instance_maps
from selfsam_d2.evaluation.runs import Runs, find_runs

__all__ = [
    "METRIC_NAMES",
    "aggregated_jaccard_index",
    "aggregated_jaccard_index_fast",
    "aggregated_jaccard_index_plus",
    "dice_coefficient",
    "f1_score",
    "nuclei_metrics",
    "object_dice",
    "panoptic_quality",
]

IntArray = NDArray[np.integer[Any]]

METRIC_NAMES = ("Dice", "AJI", "AJI_plus", "AJI_fast", "object_Dice", "DQ", "SQ", "PQ", "F1")


def dice_coefficient(true: IntArray, pred: IntArray) -> float:
    r"""Dice of the foreground, all nuclei of a map taken together (HoVer-Net's ``dice_1``).

    .. math:: Dice = \frac{2 |T \cap P|}{|T| + |P|}, \quad T = \bigcup_i T_i, P = \bigcup_j P_j

    Args:
        true: T_i, (H, W) instance map.
        pred: P_j, (H, W) instance map.

    Raises:
        ValueError: if the maps are not (H, W) integers of one size without a negative id.
    """
    return _dice(ContingencyTable.from_maps(true, pred))


def object_dice(true: IntArray, pred: IntArray) -> float:
    r"""Dice of each nucleus with its partner, weighted by area (GlaS challenge; Qu et al. 2019).

    .. math:: \tfrac12 \Big( \sum_i \gamma_i Dice(T_i, P_{j(i)}) +
              \sum_j \sigma_j Dice(P_j, T_{i(j)}) \Big), \quad
              \gamma_i = \frac{|T_i|}{\sum_k |T_k|}, \sigma_j = \frac{|P_j|}{\sum_k |P_k|}

    The partner j(i) shares the most pixels with i (ties: the lower id); without any, the Dice is 0.

    Args:
        true: T_i, (H, W) instance map.
        pred: P_j, (H, W) instance map.

    Raises:
        ValueError: as :func:`dice_coefficient`.
    """
    return _object_dice(ContingencyTable.from_maps(true, pred))


def aggregated_jaccard_index(true: IntArray, pred: IntArray) -> float:
    r"""AJI of the MoNuSeg organisers (Kumar et al. 2017; HoVer-Net's ``get_fast_aji``).

    .. math:: AJI = \frac{\sum_{i \in M} |T_i \cap P_{j(i)}|}
              {\sum_{i \in M} |T_i \cup P_{j(i)}| + \sum_{i \notin M} |T_i| + \sum_{j \in U} |P_j|}

    M: true nuclei that any prediction overlaps; j(i): the prediction of largest IoU with i (ties:
    the lower id), which may serve several i; U: predictions that are no j(i).

    Args:
        true: T_i, (H, W) instance map.
        pred: P_j, (H, W) instance map.

    Raises:
        ValueError: as :func:`dice_coefficient`.
    """
    return _aji(ContingencyTable.from_maps(true, pred))


def aggregated_jaccard_index_plus(true: IntArray, pred: IntArray) -> float:
    r"""AJI+ (HoVer-Net): as AJI, but with pairs one-to-one, so that no prediction serves twice.

    The pairs are the assignment of largest total IoU (Hungarian method); pairs without a common
    pixel are dissolved. Nuclei without a pair add their areas to the denominator.

    Args:
        true: T_i, (H, W) instance map.
        pred: P_j, (H, W) instance map.

    Raises:
        ValueError: as :func:`dice_coefficient`.
    """
    return _aji_plus(ContingencyTable.from_maps(true, pred))


def aggregated_jaccard_index_fast(true: IntArray, pred: IntArray) -> float:
    r"""AJI as computed by the code of Qu et al. 2019 and InstaSAM; below AJI on the same maps.

    Two things differ from :func:`aggregated_jaccard_index`. Both maps are first re-labelled into
    connected components of equal id (8-neighbours, numbered in reading order), so a nucleus in two
    parts counts as two. And j(i) is the argmax of IoU(i, ·) even where all are 0: then it is
    prediction 1, whose area enters the denominator with that of i, and which counts as used.

    Args:
        true: T_i, (H, W) instance map.
        pred: P_j, (H, W) instance map.

    Raises:
        ValueError: as :func:`dice_coefficient`.
    """
    check_instance_maps(true, pred)
    return _aji_fast(_component_table(find_runs(true, pred)))


def panoptic_quality(true: IntArray, pred: IntArray) -> tuple[float, float, float]:
    r"""Detection, segmentation and panoptic quality at IoU > 0.5 (Kirillov et al. 2019).

    .. math:: DQ = \frac{TP}{TP + FP / 2 + FN / 2}, \quad
              SQ = \frac{1}{TP} \sum_{(i, j) \in TP} IoU(i, j), \quad PQ = DQ \cdot SQ

    TP: pairs of IoU > 0.5, which are one-to-one by themselves; FP and FN: predicted and true
    nuclei without a pair. SQ is 0 where no pair is found.

    Args:
        true: T_i, (H, W) instance map.
        pred: P_j, (H, W) instance map.

    Returns:
        (DQ, SQ, PQ).

    Raises:
        ValueError: as :func:`dice_coefficient`.
    """
    return _panoptic(ContingencyTable.from_maps(true, pred))


def f1_score(true: IntArray, pred: IntArray) -> float:
    r"""F1 of object detection: a nucleus is found if a prediction has IoU > 0.5 with it.

    .. math:: F1 = \frac{2 \cdot precision \cdot recall}{precision + recall}
              = \frac{2 TP}{2 TP + FP + FN}, \quad
              precision = \frac{TP}{P}, recall = \frac{TP}{T}

    TP, FP and FN are those of :func:`panoptic_quality`, so F1 equals DQ; both names are in use.

    Args:
        true: T_i, (H, W) instance map, T nuclei.
        pred: P_j, (H, W) instance map, P nuclei.

    Raises:
        ValueError: as :func:`dice_coefficient`.
    """
    return _f1(ContingencyTable.from_maps(true, pred))


def nuclei_metrics(true: IntArray, pred: IntArray) -> dict[str, float]:
    """Compute all metrics of one image from one table of overlaps.

    Args:
        true: (H, W) instance map.
        pred: (H, W) instance map.

    Returns:
        One value for each of :data:`METRIC_NAMES`, in that order, in [0, 1] or not a number.

    Raises:
        ValueError: as :func:`dice_coefficient`.
    """
    check_instance_maps(true, pred)
    runs = find_runs(true, pred)
    table = ContingencyTable.from_runs(runs.lengths, *runs.ids)
    detection, segmentation, panoptic = _panoptic(table)
    values = (
        _dice(table),
        _aji(table),
        _aji_plus(table),
        _aji_fast(_component_table(runs)),
        _object_dice(table),
        detection,
        segmentation,
        panoptic,
        _f1(table),
    )
    return dict(zip(METRIC_NAMES, values, strict=True))


def _ratio(numerator: float, denominator: float) -> float:
    """Divide; 0 / 0, which only two empty maps give, is not a number."""
    return float(numerator) / float(denominator) if denominator else float("nan")


def _dice(table: ContingencyTable) -> float:
    areas = table.true_areas.sum() + table.pred_areas.sum()
    return _ratio(2 * table.overlaps.sum(), areas)


def _object_dice(table: ContingencyTable) -> float:
    if not table.num_true and not table.num_pred:
        return float("nan")
    return (_weighted_dice(table) + _weighted_dice(table.transposed())) / 2


def _weighted_dice(table: ContingencyTable) -> float:
    best = table.best_overlaps(table.overlaps)
    own = table.true_areas[table.true_index[best]]
    partner = table.pred_areas[table.pred_index[best]]
    dice = 2 * table.overlaps[best] / (own + partner)
    return float((own * dice).sum() / max(table.true_areas.sum(), 1))


def _aji(table: ContingencyTable) -> float:
    return _aji_of_pairs(table, table.best_overlaps(table.ious))


def _aji_plus(table: ContingencyTable) -> float:
    if not len(table.overlaps):
        return _aji_of_pairs(table, np.zeros(0, dtype=np.int64))
    # So that every true nucleus has a partner, each has a column of its own with an IoU of 0;
    # 1 is added to all weights, since a weight of 0 is no edge.
    own = np.arange(table.num_true)
    rows = np.concatenate([table.true_index, own]).astype(np.int32)
    columns = np.concatenate([table.pred_index, table.num_pred + own]).astype(np.int32)
    weights = 1 + np.concatenate([table.ious, np.zeros(len(own))])
    graph = coo_array((weights, (rows, columns))).tocsr()
    true, pred = min_weight_full_bipartite_matching(graph, maximize=True)
    # The overlaps are sorted by the true nucleus, then by the predicted one.
    keys = table.true_index * table.num_pred + table.pred_index
    paired = pred < table.num_pred
    return _aji_of_pairs(
        table, np.searchsorted(keys, true[paired].astype(np.int64) * table.num_pred + pred[paired])
    )


def _aji_of_pairs(table: ContingencyTable, pairs: NDArray[np.int64]) -> float:
    """Aggregate the given overlaps; the nuclei in none of them add their areas."""
    missed = np.delete(table.true_areas, table.true_index[pairs])
    unused = np.delete(table.pred_areas, table.pred_index[pairs])
    union = table.unions[pairs].sum() + missed.sum() + unused.sum()
    return _ratio(table.overlaps[pairs].sum(), union)


def _component_table(runs: Runs) -> ContingencyTable:
    return ContingencyTable.from_runs(runs.lengths, runs.components(0), runs.components(1))


def _aji_fast(table: ContingencyTable) -> float:
    if not table.num_true or not table.num_pred:
        return float("nan") if table.num_true == table.num_pred else 0.0
    best = table.best_overlaps(table.ious)
    missed = np.delete(table.true_areas, table.true_index[best])
    used = table.pred_index[best]
    if missed.size:
        used = np.append(used, 0)
    unused = np.delete(table.pred_areas, used)
    union = table.unions[best].sum() + unused.sum()
    union += missed.sum() + missed.size * table.pred_areas[0]
    return _ratio(table.overlaps[best].sum(), union)


def _pairs_above_half(table: ContingencyTable) -> NDArray[np.bool_]:
    return np.asarray(2 * table.overlaps > table.unions, dtype=np.bool_)


def _panoptic(table: ContingencyTable) -> tuple[float, float, float]:
    pairs = _pairs_above_half(table)
    detection = _f1(table)
    if np.isnan(detection):
        return detection, detection, detection
    segmentation = float(table.ious[pairs].mean()) if pairs.any() else 0.0
    return detection, segmentation, detection * segmentation


def _f1(table: ContingencyTable) -> float:
    return _ratio(2 * _pairs_above_half(table).sum(), table.num_true + table.num_pred)

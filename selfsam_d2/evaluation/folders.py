"""Scoring of a folder of predicted label maps against a folder of true ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.structures.label_maps import find_label_maps, read_label_map

__all__ = ["LabelMapPairs", "evaluate_pairs", "pair_label_maps"]

_NAMES_IN_MESSAGE = 3


@dataclass(frozen=True)
class LabelMapPairs:
    """Label maps of two folders, paired by file stem.

    Attributes:
        pairs: file stem -> (true label map, predicted label map).
        extra: stems of predictions without a true label map; they are not scored.
    """

    pairs: dict[str, tuple[Path, Path]]
    extra: tuple[str, ...]


def pair_label_maps(true_folder: str | Path, pred_folder: str | Path) -> LabelMapPairs:
    """Pair the label maps of two folders by file stem; the kinds of file may differ.

    Args:
        true_folder: the folder of true label maps.
        pred_folder: the folder of predicted label maps.

    Raises:
        InputError: if a folder cannot be used, or a true label map has no prediction.
    """
    true_maps = find_label_maps(true_folder)
    pred_maps = find_label_maps(pred_folder)
    missing = [stem for stem in true_maps if stem not in pred_maps]
    if missing:
        named = ", ".join(missing[:_NAMES_IN_MESSAGE])
        more = len(missing) - _NAMES_IN_MESSAGE
        named += f" and {more} more" if more > 0 else ""
        raise InputError(
            pred_folder, f"no prediction for {named}; each true label map needs one of its stem"
        )
    return LabelMapPairs(
        pairs={stem: (path, pred_maps[stem]) for stem, path in true_maps.items()},
        extra=tuple(stem for stem in pred_maps if stem not in true_maps),
    )


def evaluate_pairs(pairs: dict[str, tuple[Path, Path]]) -> dict[str, dict[str, float]]:
    """Score each pair of label maps, one in memory at a time.

    Args:
        pairs: file stem -> (true label map, predicted label map).

    Returns:
        File stem -> metric name -> value in [0, 1], not a number where both maps are empty.

    Raises:
        InputError: if a label map cannot be used, or the sizes of a pair differ.
    """
    scores: dict[str, dict[str, float]] = {}
    for stem, (true_path, pred_path) in pairs.items():
        true, pred = read_label_map(true_path), read_label_map(pred_path)
        if true.shape != pred.shape:
            raise InputError(
                pred_path,
                f"is {pred.shape[0]} x {pred.shape[1]} (height x width), but {true_path} is "
                f"{true.shape[0]} x {true.shape[1]}; both need one size",
            )
        scores[stem] = nuclei_metrics(true, pred)
    return scores

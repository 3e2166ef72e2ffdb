"""Images of an evaluation with truth, prediction and errors: kept by it, or predicted anew."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfsam_d2.engine.architectures import predicts_by_windows
from selfsam_d2.engine.data_checks import load_records
from selfsam_d2.engine.finished_run import FinishedRun
from selfsam_d2.engine.run_model import load_run_model
from selfsam_d2.engine.trainer_choice import trainer_class
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.error_kinds import ErrorKinds, classify_nuclei
from selfsam_d2.evaluation.instance_maps import predicted_map, results_to_map
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.evaluation.nuclei_evaluator import check_masks, image_names
from selfsam_d2.structures.annotation_masks import annotations_to_map
from selfsam_d2.structures.labels import IGNORE

__all__ = [
    "CHOSEN_BY",
    "ScoredImage",
    "best_median_worst",
    "choose_images",
    "kept_images",
    "predict_again",
]

CHOSEN_BY = "AJI"
SAME = 1e-6  # difference of a metric up to which it is the same evaluation


@dataclass(frozen=True)
class ScoredImage:
    """One image of an evaluation; pixels of crowd regions are background.

    Attributes:
        name: as in ``nuclei_metrics.json``.
        file: of the image.
        true: (H, W) true instance map.
        pred: (H, W) predicted instance map.
        metrics: of these two maps, in [0, 1], not a number where both are empty.
        kinds: of the nuclei of both.
    """

    name: str
    file: Path
    true: NDArray[np.int32]
    pred: NDArray[np.int32]
    metrics: dict[str, float]
    kinds: ErrorKinds


def choose_images(images: Mapping[str, Mapping[str, float | None]]) -> dict[str, str]:
    """The best, the median and the worst image by AJI.

    Args:
        images: name -> metric -> value, None where undefined: such images are left out.

    Returns:
        "best", "median", "worst" -> name; of an even number the lower of the two in the middle.
        Fewer where there are fewer images.
    """
    values = {name: row[CHOSEN_BY] for name, row in images.items()}
    return best_median_worst({name: value for name, value in values.items() if value is not None})


def best_median_worst(values: Mapping[str, float]) -> dict[str, str]:
    """The best, the median and the worst of some values, the largest being the best.

    Args:
        values: name -> value; of equal ones the later name counts as the better one.

    Returns:
        as :func:`choose_images`.
    """
    ordered = sorted(values, key=lambda name: (values[name], name))
    if not ordered:
        return {}
    places = {"best": -1, "worst": 0, "median": (len(ordered) - 1) // 2}
    chosen = {ordered[index]: word for word, index in reversed(places.items())}
    found = {word: name for name, word in chosen.items()}
    return {word: found[word] for word in ("best", "median", "worst") if word in found}


def kept_images(
    run: FinishedRun,
    dataset: str,
    images: Mapping[str, Mapping[str, float | None]],
    names: Collection[str],
) -> tuple[dict[str, dict[str, int]], dict[str, ScoredImage]]:
    """Errors of all images, and some images, with the predictions that the evaluation has left.

    Args:
        run: the training.
        dataset: of the evaluation, registered.
        images: its metrics of each image.
        names: of the images to give.

    Returns:
        name -> :meth:`ErrorKinds.counts` of all, name -> image of ``names``. Nothing where no
        predictions were left, or where their metrics are not those of ``images``: then they are of
        another evaluation, or the truth has changed.

    Raises:
        InputError: the dataset or a mask cannot be used.
    """
    results = run.coco_results(dataset)
    records = _records(dataset)
    if results is None or set(records) != set(images):
        return {}, {}
    of_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        of_image[result["image_id"]].append(result)
    counts, found = {}, {}
    for name, record in records.items():
        try:
            pred = results_to_map(
                of_image[record["image_id"]], record["height"], record["width"], _min_score(run)
            )
        except (KeyError, ValueError):
            return {}, {}  # of boxes, or of images of another size: another evaluation
        image = _scored(name, record, pred)
        if not _same(image.metrics[CHOSEN_BY], images[name][CHOSEN_BY]):
            return {}, {}
        counts[name] = image.kinds.counts()
        if name in names:
            found[name] = image
    return counts, found


def predict_again(
    run: FinishedRun, dataset: str, names: Sequence[str], weights: str | None = None
) -> tuple[dict[str, ScoredImage], str]:
    """Predict some images with weights of the run.

    Args:
        run: the training.
        dataset: registered.
        names: of the images.
        weights: path, URL or name; None: the last checkpoint of the run.

    Returns:
        name -> image, and the name of the file of weights.

    Raises:
        InputError: the dataset or the weights cannot be used.
    """
    records = _records(dataset)
    model, file = load_run_model(run, weights)
    mapper = trainer_class(run.cfg).build_test_mapper(run.cfg)
    found = {}
    for name in names:
        if name not in records:
            raise InputError(f"image {name}", f"was evaluated, but is not in {dataset} any more")
        with torch.no_grad():
            (output,) = model([mapper(records[name])])
        pred = predicted_map(output, _min_score(run)).astype(np.int32)
        found[name] = _scored(name, records[name], pred)
    return found, file


def _records(dataset: str) -> dict[str, dict[str, Any]]:
    records = load_records([dataset])
    check_masks(dataset, records)
    names = image_names(records)
    return {names[record["image_id"]]: record for record in records}


def _min_score(run: FinishedRun) -> float:
    return 0.0 if predicts_by_windows(run.cfg) else run.cfg.TEST.INSTANCE_MAP_SCORE


def _scored(name: str, record: dict[str, Any], pred: NDArray[np.int32]) -> ScoredImage:
    true = annotations_to_map(record["annotations"], record["height"], record["width"])
    ignored = true == IGNORE
    true, pred = (np.where(ignored, 0, each) for each in (true, pred))
    return ScoredImage(
        name=name,
        file=Path(record["file_name"]),
        true=true,
        pred=pred,
        metrics=nuclei_metrics(true, pred),
        kinds=classify_nuclei(true, pred),
    )


def _same(value: float, expected: float | None) -> bool:
    if expected is None:
        return math.isnan(value)
    return abs(value - expected) <= SAME

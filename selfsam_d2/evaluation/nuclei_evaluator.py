"""The Detectron2 evaluator that prints every metric of nuclei segmentation under its own name."""

from __future__ import annotations

import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray

from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.instance_maps import predicted_map
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.evaluation.summary import format_table, summarise, write_json
from selfsam_d2.structures.annotation_masks import annotations_to_map
from selfsam_d2.structures.labels import IGNORE

__all__ = ["RESULTS_FILE", "NucleiEvaluator", "check_masks", "image_names"]

RESULTS_FILE = "nuclei_metrics.json"

logger = logging.getLogger(__name__)


class NucleiEvaluator(DatasetEvaluator):
    """Compare predicted instance maps with the masks of a registered dataset.

    The truth of an image is painted from the annotations of its record in ``DatasetCatalog``, see
    :func:`~selfsam_d2.structures.annotation_masks.annotations_to_map`; pixels where only a crowd
    annotation lies are background in both maps. Result values are means over images, 0 to 1.

    Args:
        dataset_name: a name in ``DatasetCatalog``; each annotation of its records needs a mask.
        output_dir: where :meth:`evaluate` writes ``nuclei_metrics.json``; nowhere if None.
        distributed: whether to gather the images of all ranks on the main process.
        min_score: predicted masks of a lower score are left out where masks are predicted one by
            one, in [0, 1].

    Raises:
        InputError: if the dataset has no image, or an annotation without a mask.
    """

    results_key = "nuclei"
    results_file = RESULTS_FILE

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        distributed: bool = True,
        min_score: float = 0.0,
    ) -> None:
        self._min_score = min_score
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._distributed = distributed
        records: list[dict[str, Any]] = DatasetCatalog.get(dataset_name)
        check_masks(dataset_name, records)
        self._records = {record["image_id"]: record for record in records}
        self._names = image_names(records)
        self._scores: dict[str, dict[str, float]] = {}

    def reset(self) -> None:
        """Forget the images seen."""
        self._scores = {}

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Score a batch of images.

        Args:
            inputs: each with ``image_id``, as the dataset has it.
            outputs: each with ``instance_map``, (H, W) integers, 0 background; else ``instances``
                with ``pred_masks`` and ``scores``.

        Raises:
            InputError: if an image is not in the dataset, or the prediction is not of its size.
        """
        for entry, output in zip(inputs, outputs, strict=True):
            image_id = entry["image_id"]
            if image_id not in self._records:
                raise InputError(f"image id {image_id}", f"not in the dataset {self._dataset_name}")
            record = self._records[image_id]
            true = self._true_map(record)
            pred = self._predicted_map(output)
            if pred.shape != true.shape:
                raise InputError(
                    record["file_name"],
                    f"the prediction is {pred.shape[0]} x {pred.shape[1]} (height x width), but "
                    f"the dataset says {true.shape[0]} x {true.shape[1]}; make them agree",
                )
            ignored = true == IGNORE
            true[ignored] = 0
            scores = self._metrics(true, np.where(ignored, 0, pred))
            self._scores[self._names[image_id]] = scores

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Average over images, log the table, write the file.

        Returns:
            ``{results_key: {metric: mean over images}}`` on the main process, where a mean over no
            image is not a number; nothing on the other ranks, or when no image was seen.
        """
        scores = self._scores
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather(self._scores, dst=0)
            if not comm.is_main_process():
                return OrderedDict()
            scores = {name: row for part in gathered for name, row in part.items()}
        if not scores:
            logger.warning("no prediction for the dataset %s was seen", self._dataset_name)
            return OrderedDict()
        if len(scores) < len(self._records):
            logger.warning(
                "%d of the %d images of %s were seen",
                len(scores),
                len(self._records),
                self._dataset_name,
            )
        summary = summarise(dict(sorted(scores.items())))
        logger.info("%s:\n%s", self._dataset_name, format_table(summary))
        if self._output_dir is not None:
            write_json(self._output_dir / self.results_file, summary)
        means = {
            name: math.nan if value is None else value for name, value in summary["mean"].items()
        }
        return OrderedDict({self.results_key: means})

    def _predicted_map(self, output: Mapping[str, Any]) -> NDArray[np.integer[Any]]:
        return predicted_map(output, self._min_score)

    def _metrics(
        self, true: NDArray[np.integer[Any]], pred: NDArray[np.integer[Any]]
    ) -> dict[str, float]:
        return nuclei_metrics(true, pred)

    def _true_map(self, record: Mapping[str, Any]) -> NDArray[np.int32]:
        try:
            return annotations_to_map(record["annotations"], record["height"], record["width"])
        except ValueError as error:
            raise InputError(
                record["file_name"], f"a mask of {self._dataset_name} cannot be used: {error}"
            ) from error


def check_masks(dataset_name: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Check that a dataset can be evaluated.

    Args:
        dataset_name: for the message.
        records: dicts with ``file_name`` and ``annotations``.

    Raises:
        InputError: if there is no record, or an annotation has no ``segmentation``.
    """
    if not records:
        raise InputError(dataset_name, "has no image; evaluation needs at least one")
    for record in records:
        if not all(entry.get("segmentation") for entry in record["annotations"]):
            raise InputError(
                dataset_name,
                f"{record['file_name']} has an annotation without a mask; evaluation needs masks, "
                "points are enough for training only",
            )


def image_names(records: Sequence[Mapping[str, Any]]) -> dict[Any, str]:
    """Name each image by its file stem, or by its whole file name where stems are shared.

    Args:
        records: dicts with ``file_name`` and ``image_id``.

    Returns:
        image id -> name, as in ``nuclei_metrics.json``.
    """
    stems = {record["image_id"]: Path(record["file_name"]).stem for record in records}
    count = Counter(stems.values())
    return {
        record["image_id"]: (
            record["file_name"]
            if count[stems[record["image_id"]]] > 1
            else stems[record["image_id"]]
        )
        for record in records
    }

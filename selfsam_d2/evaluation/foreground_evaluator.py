"""The Detectron2 evaluator of semantic heads: pixels of nuclei against background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsam_d2.evaluation.metrics import dice_coefficient
from selfsam_d2.evaluation.nuclei_evaluator import NucleiEvaluator

__all__ = ["FOREGROUND_FILE", "ForegroundEvaluator"]

FOREGROUND_FILE = "foreground_metrics.json"
NUCLEUS = 1  # class of a semantic head; 0 is background


class ForegroundEvaluator(NucleiEvaluator):
    """Dice of the nuclei class that a semantic head predicts, mean over images.

    As :class:`NucleiEvaluator`, with ``sem_seg`` (classes, H, W) in the outputs, of which the
    largest decides, and ``foreground_metrics.json``. Detectron2's ``SemSegEvaluator`` needs label
    images on disk, and NumPy below 2.
    """

    results_key = "sem_seg"
    results_file = FOREGROUND_FILE

    def _predicted_map(self, output: Mapping[str, Any]) -> NDArray[np.integer[Any]]:
        classes = output["sem_seg"].detach().argmax(dim=0).cpu().numpy()
        return (classes == NUCLEUS).astype(np.int32)

    def _metrics(
        self, true: NDArray[np.integer[Any]], pred: NDArray[np.integer[Any]]
    ) -> dict[str, float]:
        return {"Dice": dice_coefficient(true, pred)}

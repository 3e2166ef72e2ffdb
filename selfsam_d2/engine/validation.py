"""Evaluate a model on a registered dataset and keep what it predicted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, inference_on_dataset
from numpy.typing import NDArray

from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.evaluation.nuclei_evaluator import RESULTS_FILE, NucleiEvaluator

__all__ = ["Evaluation", "evaluate_and_keep"]


@dataclass(frozen=True)
class Evaluation:
    """Scores and predictions of the images of a dataset.

    Attributes:
        mean: metric name -> mean over images, None where undefined.
        images: file stem -> the same for one image.
        maps: file stem -> predicted instance map (H, W).
    """

    mean: dict[str, float | None]
    images: dict[str, dict[str, float | None]]
    maps: dict[str, NDArray[np.int32]]


class _InstanceMapCollector(DatasetEvaluator):
    """Keeps the predicted instance maps by file stem."""

    def __init__(self) -> None:
        self.maps: dict[str, NDArray[np.int32]] = {}

    def reset(self) -> None:
        self.maps = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        for sample, output in zip(inputs, outputs, strict=True):
            self.maps[Path(sample["file_name"]).stem] = output["instance_map"].cpu().numpy()


def evaluate_and_keep(trainer: SelfSAMTrainer, dataset_name: str, folder: Path) -> Evaluation:
    """Evaluate the model of a trainer as it is.

    Args:
        trainer: holds model and config.
        dataset_name: registered, with masks.
        folder: where ``nuclei_metrics.json`` is written.
    """
    collector = _InstanceMapCollector()
    evaluators = DatasetEvaluators([NucleiEvaluator(dataset_name, output_dir=folder), collector])
    loader = trainer.build_test_loader(trainer.cfg, dataset_name)
    inference_on_dataset(trainer.model, loader, evaluators)
    summary = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
    return Evaluation(mean=summary["mean"], images=summary["images"], maps=collector.maps)

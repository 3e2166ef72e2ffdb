"""Which scores belong to what a model predicts: nuclei, boxes, or classes of pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from selfsam_d2.engine.architectures import (
    predicts_by_windows,
    predicts_instances,
    predicts_semantics,
)
from selfsam_d2.evaluation.coco import NucleiCOCOEvaluator
from selfsam_d2.evaluation.foreground_evaluator import ForegroundEvaluator
from selfsam_d2.evaluation.nuclei_evaluator import NucleiEvaluator

__all__ = ["make_evaluator"]


def make_evaluator(
    cfg: Any, dataset_name: str, output_folder: str | None = None
) -> DatasetEvaluator:
    """The evaluator of a dataset for the model of a config.

    Masks: every metric of the paper, and with ``TEST.COCO_AP`` their AP. Boxes: their AP; also
    beside masks where the model predicts both. Classes of pixels: Dice.

    Args:
        cfg: of the model.
        dataset_name: registered, with masks.
        output_folder: of the results; by default ``OUTPUT_DIR/inference``. With several test
            datasets each has a folder of its own in it.
    """
    folder = Path(output_folder or Path(cfg.OUTPUT_DIR) / "inference")
    if len(cfg.DATASETS.TEST) > 1:
        folder /= dataset_name
    if predicts_semantics(cfg):
        return ForegroundEvaluator(dataset_name, output_dir=folder)
    evaluators: list[DatasetEvaluator] = []
    if predicts_instances(cfg):
        evaluators.append(
            NucleiEvaluator(dataset_name, output_dir=folder, min_score=cfg.TEST.INSTANCE_MAP_SCORE)
        )
    if cfg.TEST.COCO_AP or not predicts_instances(cfg):
        boxes = () if predicts_by_windows(cfg) else ("bbox",)
        masks = ("segm",) if predicts_instances(cfg) else ()
        evaluators.append(
            NucleiCOCOEvaluator(
                dataset_name,
                output_dir=folder,
                max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
                tasks=boxes + masks,
            )
        )
    return DatasetEvaluators(evaluators)

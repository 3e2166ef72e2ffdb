"""The labels of a few training crops over a training: as it kept them, or made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.engine.crop_trainer import build_schedule
from selfsam_d2.engine.crop_views import load_in_epoch
from selfsam_d2.engine.epochs import enter_epoch, epoch_alpha, epoch_reprompts
from selfsam_d2.engine.finished_run import FinishedRun, kept_weights
from selfsam_d2.engine.label_history_hook import HISTORY_FOLDER, history_files
from selfsam_d2.engine.trainer import training_steps
from selfsam_d2.engine.training_crops import view_training_crops
from selfsam_d2.visualization.crop_view_files import load_views
from selfsam_d2.visualization.label_history import LabelStage

__all__ = ["label_stages"]

MOST_STAGES = 6


def label_stages(run: FinishedRun, crops: int) -> list[LabelStage]:
    """The labels that the training kept; without them, those of checkpoints of different epochs.

    Of more than six moments that were kept six are taken, evenly spread. Where labels are made
    again and alpha is 1 in epoch 0, S_P is made from the base masks alone; these change in no step,
    so that every checkpoint gives the labels of epoch 0. All crops are augmented as in training,
    and the same at each moment.

    Args:
        run: of SelfSAM.
        crops: number of them, at least 1: the first ones of the training.

    Returns:
        in the order of the epochs; none where no checkpoint is kept.

    Raises:
        InputError: the training dataset or a checkpoint cannot be used.
    """
    kept = _kept_stages(run, crops)
    if kept:
        return kept
    cfg = run.cfg
    paths = kept_weights(run.folder)
    if not paths:
        return []
    schedule = build_schedule(cfg)
    mapper = PointPromptDatasetMapper(cfg)
    steps, epochs = training_steps(cfg, schedule)
    stages: list[LabelStage] = []
    for epoch, path in _of_different_epochs(paths, schedule, steps).items():
        model, _ = load_in_epoch(cfg, schedule, str(path), None)
        from_base = epoch_alpha(cfg, 0, epochs) == 1 and not epoch_reprompts(cfg, 0)
        if not stages and epoch > 0 and from_base:
            enter_epoch(model, cfg, 0, epochs)
            views = view_training_crops(model, schedule, mapper, crops)
            stages.append(LabelStage("epoch 0, base masks alone", views))
            enter_epoch(model, cfg, epoch, epochs)
        views = view_training_crops(model, schedule, mapper, crops)
        stages.append(LabelStage(f"epoch {epoch}, alpha = {model.alpha:.2f}", views))
    return stages


def _kept_stages(run: FinishedRun, crops: int) -> list[LabelStage]:
    files = list(history_files(run.folder / HISTORY_FOLDER).items())
    chosen = np.linspace(0, len(files) - 1, min(len(files), MOST_STAGES))
    stages = []
    for index in np.round(chosen).astype(int).tolist():
        moment, path = files[index]
        views = load_views(path)[:crops]
        if len(views) == crops:
            stages.append(LabelStage(f"{moment}, alpha = {views[0].alpha:.2f}", views))
    return stages


def _of_different_epochs(
    paths: Sequence[Path], schedule: CropSchedule, steps: int
) -> dict[int, Path]:
    """Epoch -> its last checkpoint: of the first epoch, of one in the middle and of the last."""
    of_epoch = {}
    for path in paths:
        number = path.stem.rpartition("_")[2]
        step = int(number) if number.isdecimal() else steps - 1
        of_epoch[schedule.epoch_of_step(step)] = path
    known = sorted(of_epoch)
    chosen = dict.fromkeys([known[0], known[len(known) // 2], known[-1]])
    return {epoch: of_epoch[epoch] for epoch in chosen}

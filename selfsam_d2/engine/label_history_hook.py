"""Keeps the labels of a few training crops at moments of a training, for its report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.engine.self_refine_hook import unwrap
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.visualization.crop_view import CropView
from selfsam_d2.visualization.crop_view_files import save_views

__all__ = ["HISTORY_FOLDER", "LabelHistoryHook", "history_files"]

HISTORY_FOLDER = "label_history"  # in OUTPUT_DIR
MOMENTS = 10  # at most, and the end


class LabelHistoryHook(HookBase):
    """Writes what the model makes of the same crops before the first step of an epoch, and after.

    Of many epochs it takes ten, evenly spread, the first and the last among them. Random numbers of
    the training are left as they are, so that a run is the same with and without it.

    Belongs behind ``SelfRefineHook``, which sets what the epoch changes.

    Args:
        folder: where the files go; those of an earlier training there are removed.
        schedule: of the crops; says which epoch a step belongs to.
        epochs: of the training.
        view: looks at the crops with a model; the same crops each time.
    """

    def __init__(
        self,
        folder: str | Path,
        schedule: CropSchedule,
        epochs: int,
        view: Callable[[SelfSAM], list[CropView]],
    ) -> None:
        self.folder = Path(folder)
        self.schedule = schedule
        self.epochs = epochs
        self.view = view
        moments = np.linspace(0, epochs - 1, min(epochs, MOMENTS))
        self.moments = set(np.round(moments).astype(int).tolist())

    def before_train(self) -> None:
        if self.trainer.start_iter == 0 and comm.is_main_process() and self.folder.exists():
            shutil.rmtree(self.folder)

    def before_step(self) -> None:
        epoch = self.schedule.epoch_of_step(self.trainer.iter)
        if epoch in self.moments:
            self._keep(epoch)

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:  # not stopped or failed
            self._keep(self.epochs)

    def _keep(self, epoch: int) -> None:
        path = self.folder / f"epoch_{epoch:04d}.npz"
        if not comm.is_main_process() or path.exists():
            return
        model = unwrap(self.trainer.model)
        was_training = model.training
        model.eval()
        try:
            with torch.random.fork_rng():
                save_views(self.view(model), path)
        finally:
            model.train(was_training)


def history_files(folder: str | Path) -> dict[int, Path]:
    """Epoch -> file, in their order; the number of epochs stands for the end of the training.

    Args:
        folder: of the hook.
    """
    paths = sorted(Path(folder).glob("epoch_[0-9]*.npz"))
    return {int(path.stem.removeprefix("epoch_")): path for path in paths}

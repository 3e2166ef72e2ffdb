"""Keeps the labels of a few training crops at moments of a training, for its report."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.engine.self_refine_hook import unwrap
from selfsam_d2.errors import UnreadableImageError
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.visualization.crop_view import CropView
from selfsam_d2.visualization.crop_view_files import save_views

__all__ = ["HISTORY_FOLDER", "LabelHistoryHook", "history_files"]

logger = logging.getLogger(__name__)

HISTORY_FOLDER = "label_history"  # in OUTPUT_DIR
MOMENTS = 10  # at most, and the end
END = "end.npz"


class LabelHistoryHook(HookBase):
    """Writes what the model makes of the same crops after an epoch's first step and at the end.

    Of many epochs it takes ten, evenly spread, the first and the last among them. Random numbers of
    the training are left as they are, so that a run is the same with and without it. After a step,
    not before it: where weights are NaN the loss says so first.

    Belongs behind ``SelfRefineHook``, which sets what the epoch changes and logs the step.

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
        self.view = view
        moments = np.linspace(0, epochs - 1, min(epochs, MOMENTS))
        self._in_vain: set[Path] = set()
        self.moments = set(np.round(moments).astype(int).tolist())

    def before_train(self) -> None:
        if not comm.is_main_process():
            return
        if self.trainer.start_iter == 0 and self.folder.exists():
            shutil.rmtree(self.folder)
        (self.folder / END).unlink(missing_ok=True)  # of a shorter training that now goes on

    def after_step(self) -> None:
        epoch = self.schedule.epoch_of_step(self.trainer.iter)
        path = self.folder / f"epoch_{epoch:04d}.npz"
        if epoch in self.moments and path not in self._in_vain and not path.exists():
            self._keep(path)

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:  # not stopped or failed
            self._keep(self.folder / END)

    def _keep(self, path: Path) -> None:
        if not comm.is_main_process():
            return
        model = unwrap(self.trainer.model)
        was_training = model.training
        model.eval()
        try:
            with torch.random.fork_rng():
                save_views(self.view(model), path)
        except UnreadableImageError as error:
            self._in_vain.add(path)  # once is enough
            # Whether the training ends with it is DATALOADER.MAX_BAD's to say.
            logger.warning("No labels are kept for the report: %s", error)
        finally:
            model.train(was_training)


def history_files(folder: str | Path) -> dict[str, Path]:
    """Moment -> file, in their order: ``epoch 0``, ``epoch 1`` ... and ``end``.

    Args:
        folder: of the hook.
    """
    paths = sorted(Path(folder).glob("epoch_[0-9]*.npz"))
    found = {f"epoch {int(path.stem.removeprefix('epoch_'))}": path for path in paths}
    end = Path(folder) / END
    return {**found, "end": end} if end.is_file() else found

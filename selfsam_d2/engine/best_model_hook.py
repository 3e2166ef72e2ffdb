"""Keep the best model of a run, also over a resume."""

from __future__ import annotations

import logging
import math
import uuid
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase

from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer
from selfsam_d2.weights.resolve import read_checkpoint

__all__ = ["BestModelHook"]

FILE_NAME = "model_best"

logger = logging.getLogger(__name__)


class BestModelHook(HookBase):
    """Saves ``model_best.pth`` whenever an evaluation is better than all before.

    Detectron2's ``BestCheckpointer`` forgets the best value when a run is resumed, and then
    replaces the best model by the next one; and a resumed run would start from the best model.
    Here the file itself keeps its value. Belongs after ``EvalHook``, on the main process.

    Args:
        period: of the evaluation, steps; 0: only after the training.
        checkpointer: writes the file.
        metric: name in the trainer's storage; larger is better.
    """

    def __init__(self, period: int, checkpointer: SelfSAMCheckpointer, metric: str) -> None:
        self.period = period
        self.checkpointer = checkpointer
        self.metric = metric
        self.best: float | None = None
        # The file of another run in the same folder is not compared with.
        self.run = uuid.uuid4().hex

    def state_dict(self) -> dict[str, Any]:
        return {"run": self.run}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.run = state["run"]

    def before_train(self) -> None:
        path = Path(self.checkpointer.save_dir) / f"{FILE_NAME}.pth"
        if self.trainer.start_iter > 0 and path.is_file():
            kept = read_checkpoint(path).get("best", {})
            if kept.get("run") == self.run:
                self.best = kept.get(self.metric)

    def after_step(self) -> None:
        step = self.trainer.iter + 1
        if self.period > 0 and step % self.period == 0 and step != self.trainer.max_iter:
            self._compare(step)

    def after_train(self) -> None:
        # As EvalHook: no evaluation after a training that broke off.
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._compare(self.trainer.max_iter)

    def _compare(self, step: int) -> None:
        latest = self.trainer.storage.latest().get(self.metric)
        if latest is None:
            logger.warning("%s was not evaluated: the best model is not known", self.metric)
            return
        value = latest[0]
        if math.isnan(value) or (self.best is not None and value <= self.best):
            return
        self.best = value
        best = {self.metric: value, "run": self.run}
        self.checkpointer.save(FILE_NAME, resumable=False, iteration=step - 1, best=best)
        logger.info("best model so far: %s %.4f after step %d", self.metric, value, step)

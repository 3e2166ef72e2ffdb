"""A progress bar for a training whose log goes elsewhere."""

from __future__ import annotations

import sys

from detectron2.engine import HookBase
from tqdm import tqdm

__all__ = ["ProgressHook"]

LOSS_WINDOW = 20  # steps
# Without a terminal each state of the bar is a line of its own, so there are few.
SECONDS_BETWEEN_LINES = 15.0


class ProgressHook(HookBase):
    """Shows steps, time left, the median of the recent losses and alpha on stderr."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def before_train(self) -> None:
        self._bar = tqdm(
            total=self.trainer.max_iter,
            initial=self.trainer.start_iter,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES,
        )

    def after_step(self) -> None:
        if self._bar is None:
            return
        storage = self.trainer.storage
        self._bar.set_postfix(
            loss=f"{storage.history('total_loss').median(LOSS_WINDOW):.3f}",
            alpha=f"{storage.history('alpha').latest():.2f}",
            refresh=False,
        )
        self._bar.update()

    def after_train(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

"""Leave a training in good order when the machine (SIGTERM) or its user (Ctrl+C) asks for it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer

__all__ = ["INTERRUPTED", "PASSED_ON", "STOPPED", "StopHook"]

# Exit statuses, as of a process that the signal ended.
STOPPED = 128 + signal.SIGTERM
INTERRUPTED = 128 + signal.SIGINT
PASSED_ON = signal.SIGUSR1  # what a process sends to those it started when it was asked to stop

logger = logging.getLogger(__name__)


class StopHook(HookBase):
    """On SIGTERM, as schedulers send it, saves a checkpoint and ends with status 143.

    Ctrl+C (SIGINT) is the same with status 130. The step at hand is finished first. Between steps
    the model does not change, so it is saved and left at once: during an evaluation or a refresh of
    the labels, which may take minutes. Before the first step nothing is to be saved. Belongs before
    ``EvalHook`` and behind ``SelfRefineHook``. A second signal of the kind ends the process as
    usual. Processes that train together leave together, whichever was asked, be it by a signal or
    by SIGUSR1 from the process that started them.

    Args:
        checkpointer: writes the file.

    Attributes:
        asked: a signal has come.
        status: the process ends with.
    """

    def __init__(self, checkpointer: SelfSAMCheckpointer) -> None:
        self.checkpointer = checkpointer
        self._process = os.getpid()
        self.asked = False
        self.status = STOPPED
        self._came: set[int] = set()
        self._in_step = False
        self._finished_step = -1
        self._previous: dict[int, Any] = {}

    def listen(self) -> None:
        """Answer signals until the training ends; before what other hooks do before it."""
        self._in_step = False
        self._finished_step = self.trainer.start_iter - 1
        # Only a main thread may set what answers a signal.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, PASSED_ON):
                self._previous[number] = signal.signal(number, self._on_signal)

    def after_train(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def before_step(self) -> None:
        # A wish that came just before is one of this step.
        self._in_step = True

    def after_step(self) -> None:
        if any(comm.all_gather(self.asked)):
            self.leave(self.trainer.iter)
        self._finished_step = self.trainer.iter
        self._in_step = False
        if self.asked:  # since the others were told
            self._leave_between_steps()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        waits = self.asked and not self._in_step  # for the main process to save
        again = number != PASSED_ON and (number in self._came or waits)
        if os.getpid() != self._process or again:
            # A data worker has nothing to save, and who asks twice does not want to wait; nor does
            # an evaluation or a refresh that the main process has left.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._came.add(number)
        if self.asked:  # the same wish, in the other way
            return
        self.asked = True
        self.status = INTERRUPTED if number == signal.SIGINT else STOPPED
        # Data workers were asked as well, if the whole job was. PyTorch's answer to their end is
        # an error in the midst of the step, which still can be finished.
        signal.signal(signal.SIGCHLD, _do_nothing)
        if self._in_step:
            logger.info("asked to stop: the step is finished and saved")
        else:
            self._leave_between_steps()

    def _leave_between_steps(self) -> None:
        """The others may be anywhere between two steps; without this process they are ended."""
        if comm.is_main_process() or self._finished_step < self.trainer.start_iter:
            self._save(self._finished_step)
            raise SystemExit(self.status)

    def leave(self, step: int) -> None:
        """Save the model as it is behind a step and end, in all processes together.

        Args:
            step: from 0; before the first one of this start nothing is saved.

        Raises:
            SystemExit: of status 143, or 130 after Ctrl+C.
        """
        self._save(step)
        comm.synchronize()
        raise SystemExit(self.status)

    def _save(self, step: int) -> None:
        if step < self.trainer.start_iter:
            logger.info("stopped before the first step: nothing is there to save")
            return
        self.trainer.iter = step  # which the checkpoint holds
        self.checkpointer.save(f"model_{step:07d}", iteration=step)
        logger.info("stopped behind step %d: the same command with --resume goes on there", step)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Unlike ``SIG_DFL`` it also answers a signal that has come and was not yet dealt with."""

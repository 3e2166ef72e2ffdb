"""Prediction by several processes on one machine, a GPU each where there are GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from detectron2.utils import comm

from selfsam_d2.engine.processes import run_in_processes
from selfsam_d2.prediction.options import Outputs, Predict
from selfsam_d2.prediction.run import Task, predict_images
from selfsam_d2.prediction.together import PATIENCE, together

__all__ = ["predict_in_processes"]


def predict_in_processes(
    count: int,
    build: Callable[..., Predict],
    device: str | None,
    tasks: Sequence[Task],
    outputs: Outputs,
) -> None:
    """Predict with Detectron2's ``launch``; see :func:`predict_images` for who does what.

    Args:
        count: of processes.
        build: called with ``device=`` it makes a predictor; it can be pickled.
        device: ``cpu``, or None for the GPU of each process where there are GPUs.
        tasks: from :func:`selfsam_d2.prediction.run.plan`.
        outputs: the same as there.

    Raises:
        InputError: as :func:`predict_images`; or there are fewer GPUs.
        SystemExit: a process was stopped.
    """
    arguments = (count, build, device, tasks, outputs)
    run_in_processes(_work, count, arguments, timeout=PATIENCE)


def _work(
    count: int,
    build: Callable[..., Predict],
    device: str | None,
    tasks: Sequence[Task],
    outputs: Outputs,
) -> None:
    if count == 1:
        predict_images(build(device=device), tasks, outputs)
        return
    if device is None and torch.cuda.is_available():
        device = f"cuda:{comm.get_local_rank()}"
    predict_images(together("weights", lambda: build(device=device)), tasks, outputs)

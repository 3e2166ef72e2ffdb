"""A training step of two processes beside that of one, and what passes between them."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measure import Line
from benchmarks.scenes import CROP, make_crop
from benchmarks.steps import build_selfsam

__all__ = ["processes"]

PROCESSES = 2
SIDE, POINTS = 512, 24  # encoder input of a step in px, points of its crop
BYTES = 4  # of an fp32 gradient


def processes(repeats: int) -> list[Line]:
    """A vit_t step of two processes with a crop each / of one with one crop, a thread each."""
    alone, together = (_measure(count, repeats) for count in (1, PROCESSES))
    raw = {"alone": alone, "together": together}
    medians = {
        name: statistics.median(together[name]) for name in ("step", "step_apart", "all_reduce")
    }
    work = f"vit_t step, side {SIDE}, {POINTS} points, a thread each: {PROCESSES} processes"
    megabytes = together["bytes"] / 1e6
    return [
        Line(
            "processes_step_time",
            f"{work} / one",
            "s",
            medians["step"],
            statistics.median(alone["step"]),
            None,
            raw,
        ),
        Line(
            "processes_gradients_time",
            f"{work}, with / without passing on the gradients",
            "s",
            medians["step"],
            medians["step_apart"],
            None,
            raw,
        ),
        Line(
            "all_reduce_s",
            f"all-reduce of {megabytes:.1f} MB by {PROCESSES} processes (gloo, loopback)",
            "s",
            medians["all_reduce"],
            None,
            None,
            raw,
        ),
    ]


def _measure(count: int, repeats: int) -> dict[str, Any]:
    """Seconds of each repeat, of the first process, and the bytes of the gradients."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, (count, folder, repeats, SIDE, POINTS), nprocs=count)
        measured: dict[str, Any] = torch.load(Path(folder) / "measured", weights_only=True)
    return measured


def _work(rank: int, count: int, folder: str, repeats: int, side: int, points: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count
    )
    model = build_selfsam("vit_t", MODEL__SAM__INPUT_SIDE=side).cpu().train()
    shared = DistributedDataParallel(model, broadcast_buffers=False)
    trained = [each for each in model.parameters() if each.requires_grad]
    gradients = torch.zeros(sum(each.numel() for each in trained))
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    crop = make_crop(points, CROP)

    def step() -> None:
        loss = sum(shared([crop]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def step_apart() -> None:
        with shared.no_sync():
            step()

    works: dict[str, Callable[[], object]] = {
        "step": step,
        "step_apart": step_apart,
        "all_reduce": lambda: distributed.all_reduce(gradients),
    }
    seconds: dict[str, Any] = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            distributed.barrier()
            start = time.perf_counter()
            work()
            distributed.barrier()
            if repeat:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    if rank == 0:
        content = {**seconds, "bytes": BYTES * gradients.numel()}
        torch.save(content, Path(folder) / "measured")
    distributed.destroy_process_group()

"""Several processes on one machine, a GPU each where there are GPUs: their start and their end."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException

from selfsam_d2 import errors
from selfsam_d2.engine.process_group import is_lost_process, leave_group
from selfsam_d2.engine.stop_hook import INTERRUPTED, PASSED_ON, STOPPED
from selfsam_d2.errors import EXIT_STATUS, InputError, SelfSAMError
from selfsam_d2.files import writing

__all__ = ["check_processes", "run_in_processes"]

PROCESS, ERROR = ".process", ".error"  # notes of a process for the one that started it
STOP = "stop"  # its note for those that start
DELAY = 1.0  # s, from a signal to its passing on
LOST = 75  # exit status of a process that misses another one
GRACE = 2.0  # s, from there to its end: the one that ended first has the word


def check_processes(cfg: Any, count: int, num_machines: int = 1, *, trains: bool = True) -> None:
    """Check that a training or an evaluation can be shared out.

    Args:
        cfg: its config.
        count: processes on each machine.
        num_machines: machines.
        trains: whether it is a training.

    Raises:
        InputError: fewer GPUs, a batch that cannot be shared out, or a device that is not theirs.
    """
    _check_gpus(count)
    world_size = count * num_machines
    if trains:
        _check_batch(cfg, world_size)
    if world_size > 1 and torch.cuda.is_available() and cfg.MODEL.DEVICE != "cuda":
        raise InputError(
            f"MODEL.DEVICE {cfg.MODEL.DEVICE}",
            "several processes take a GPU each where there are GPUs; set it to cuda, or "
            "CUDA_VISIBLE_DEVICES to '' to hide them",
        )


def _check_batch(cfg: Any, world_size: int) -> None:
    solver = cfg.SOLVER
    # With a reference Detectron2 makes the batch larger with the number of processes.
    number = solver.REFERENCE_WORLD_SIZE or world_size
    if solver.IMS_PER_BATCH % number:
        what = "SOLVER.REFERENCE_WORLD_SIZE" if number != world_size else "the number of processes"
        raise InputError(
            f"SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH}",
            f"must be a multiple of {what}, which is {number}",
        )


def _check_gpus(count: int) -> None:
    gpus = torch.cuda.device_count()
    if 0 < gpus < count:
        raise InputError(f"--num-gpus {count}", f"this machine has {gpus}")


def _check_rank(machine_rank: int, num_machines: int) -> None:
    if num_machines < 1 or not 0 <= machine_rank < num_machines:
        raise InputError(
            f"--machine-rank {machine_rank}", f"must be one of the {num_machines} machines, from 0"
        )


def run_in_processes(
    work: Callable[..., None],
    count: int,
    arguments: tuple[Any, ...],
    *,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    timeout: timedelta = timedelta(minutes=30),
) -> None:
    """Detectron2's ``launch``, with errors in one line and a way to stop all processes.

    One process on one machine is this one. SIGTERM and Ctrl+C are passed on, see
    :class:`selfsam_d2.engine.stop_hook.StopHook`; a second one ends them all.

    Args:
        work: called with the arguments in each process; it can be pickled.
        count: processes on this machine.
        arguments: of ``work``; they can be pickled.
        num_machines: machines that work together, each started with the same command.
        machine_rank: of this machine, from 0.
        dist_url: where they meet, ``tcp://ADDRESS:PORT`` of machine 0; ``auto`` on one machine.
        timeout: how long they wait for each other.

    Raises:
        InputError: there are fewer GPUs, or the rank is not one of the machines.
        SelfSAMError: what a process raised, of the same class, that one was killed, or that one
            of another machine has ended; the others are ended.
        SystemExit: a process was stopped.
        ProcessRaisedException: a process raised something else.
    """
    _check_gpus(count)
    _check_rank(machine_rank, num_machines)
    if count * num_machines == 1:
        work(*arguments)
        return
    # Where one fails, the others are ended, which is no news.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as notes, _passing_on(Path(notes)) as asked:
        try:
            launch(
                _work,
                count,
                num_machines=num_machines,
                machine_rank=machine_rank,
                dist_url=dist_url,
                args=(work, count, arguments, Path(notes)),
                timeout=timeout,
            )
        except ProcessException as stop:
            raise (_first_error(Path(notes)) or _ending(stop, asked)) from None
        # A process that Ctrl+C reaches while it starts ends as if it had done its work.
        if asked[:1] == [signal.SIGINT]:
            raise SystemExit(INTERRUPTED)


def _work(work: Callable[..., None], count: int, arguments: tuple[Any, ...], notes: Path) -> None:
    """In each process: its number and its error are written down for the first one."""
    # Each would take all cores.
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    # What it worked with is gone when it returns, but for reference cycles.
    status = _status(work, arguments, notes)
    if status == LOST:  # Gloo's threads can still wait for it, and are not to be waited for
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    leave_group()
    if status:
        raise SystemExit(status)


def _status(work: Callable[..., None], arguments: tuple[Any, ...], notes: Path) -> Any:
    """Do the work; the exit status of this process."""
    rank = comm.get_local_rank()
    try:
        _note(notes / f"{rank}{PROCESS}", os.getpid())
        if (notes / STOP).exists():  # asked before there was a note to find this process by
            return STOPPED
        work(*arguments)
    except SystemExit as stop:
        return stop.code
    except SelfSAMError as error:
        _note(notes / f"{rank}{ERROR}", [type(error).__name__, str(error)])
        return EXIT_STATUS
    except RuntimeError as error:
        if not is_lost_process(error):
            raise
        time.sleep(GRACE)
        return LOST
    return 0


def _note(path: Path, value: Any) -> None:
    with writing(path) as draft:
        draft.write_text(json.dumps(value), encoding="utf-8")


def _first_error(notes: Path) -> SelfSAMError | None:
    """The error that one process has written down; not those that follow from it."""
    files = sorted(notes.glob(f"*{ERROR}"), key=lambda path: path.stat().st_mtime_ns)
    if not files:
        return None
    name, message = json.loads(files[0].read_text(encoding="utf-8"))
    error: SelfSAMError = getattr(errors, name)(message)
    return error


def _ending(stop: ProcessException, asked: list[int]) -> BaseException:
    """What the end of a process that wrote no error down is for the command."""
    wish = INTERRUPTED if asked[:1] == [signal.SIGINT] else STOPPED
    if not isinstance(stop, ProcessExitedException):
        if not asked:
            return stop
        # Mostly of what was lost with the processes that were left first.
        sys.stderr.write(f"while it was stopped: {str(stop).strip().splitlines()[-1]}\n")
        return SystemExit(wish)
    number = -stop.exit_code
    if stop.exit_code in (STOPPED, INTERRUPTED) or (
        asked and (stop.exit_code == LOST or number in (signal.SIGTERM, signal.SIGINT, PASSED_ON))
    ):
        return SystemExit(wish)
    if stop.exit_code == LOST:
        return SelfSAMError(
            "another machine ended, or another process of this run; its output says why; all are "
            "started again together, a training with --resume"
        )
    if number > 0:
        name = signal.Signals(number).name
        return SelfSAMError(
            f"process {stop.error_index} was ended by {name}, as for want of memory; the others "
            "were ended too"
        )
    return SystemExit(stop.exit_code)


def _running(notes: Path) -> list[int]:
    """Processes that have begun their work."""
    return [int(path.read_text(encoding="utf-8")) for path in notes.glob(f"*{PROCESS}")]


def _ask_processes(notes: Path) -> None:
    for process in _running(notes):
        with suppress(ProcessLookupError):
            os.kill(process, PASSED_ON)


@contextmanager
def _passing_on(notes: Path) -> Iterator[list[int]]:
    """Pass SIGTERM and Ctrl+C on to the processes; the list holds them once they have come."""
    asked: list[int] = []
    others = set(multiprocessing.active_children())
    # They have the signal themselves by then, if the whole job was asked.
    timer = threading.Timer(DELAY, _ask_processes, (notes,))
    timer.daemon = True

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        if not asked:
            # First, so that a process either has written its note by now or finds this one.
            (notes / STOP).touch()
            running = _running(notes)
            for process in set(multiprocessing.active_children()) - others:
                if process.pid not in running:  # it only starts, which can take a minute
                    process.terminate()
            timer.start()
        asked.append(number)

    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGTERM, signal.SIGINT):
            previous[each] = signal.signal(each, pass_on)
    try:
        yield asked
    finally:
        timer.cancel()
        while previous:
            signal.signal(*previous.popitem())

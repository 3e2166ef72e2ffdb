"""Run trainings one after the other, each in a process of its own, over any number of starts."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

from selfsam_d2.engine.experiments import Experiment, make_record, read_record
from selfsam_d2.engine.folder_lock import GIVEN, locked
from selfsam_d2.engine.run_folder import (
    begin_run,
    check_run,
    commits_of_trained,
    has_checkpoint,
    read_seconds,
    write_seconds,
)
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.summary import write_json
from selfsam_d2.modeling.trained_parts import base_of_model
from selfsam_d2.weights.resolve import read_checkpoint

__all__ = ["evaluate_experiment", "run_experiment", "run_queue"]

logger = logging.getLogger(__name__)

TRAIN_NET = Path(__file__).parents[2] / "tools" / "train_net.py"
CONSOLE = "console.txt"
MODEL = "model_final.pth"
EVALUATION = "evaluation"  # folder in that of a run
TICK = 10.0  # s between two writings of the time that a run has taken
LAST_LINES = 3
STOPS = (signal.SIGTERM, signal.SIGHUP)
STOPPED = 128


def run_queue(
    experiments: Sequence[Experiment],
    output: Path,
    records: Path,
    register: Sequence[str] = (),
    *,
    train: bool = True,
    eval_only: bool = False,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Run what has no record yet and keep a record of each.

    Args:
        experiments: in the order to run them.
        output: folder of the runs, each in a folder of its own, and of the base masks that they
            share.
        records: folder of the records, one JSON each.
        register: ``--register NAME JSON IMAGE_ROOT`` options for the trainings.
        train: False: only collect the records that are there.
        eval_only: what has no record is evaluated by its trained model and not trained.

    Returns:
        records of all that are done, in the given order, and a line for each that failed.

    Raises:
        InputError: a record or a folder is damaged, or of a run with other settings, or a training
            is running in a folder.
    """
    done, failed = [], []
    # Before hours are spent: is every record and every folder of one of these runs?
    known = [read_record(records / f"{each.name}.json", each) for each in experiments]
    for experiment, record in zip(experiments, known, strict=True):
        if train and not eval_only and record is None:
            check_run(output / experiment.name, experiment.settings())
    for number, (experiment, record) in enumerate(zip(experiments, known, strict=True), start=1):
        if record is not None:
            done.append(record)
        elif train:
            logger.info("run %d of %d: %s", number, len(experiments), experiment.name)
            try:
                run = evaluate_experiment if eval_only else run_experiment
                done.append(run(experiment, output, register))
            except InputError as error:
                failed.append(f"{experiment.name}: {error}")
                logger.error("%s", failed[-1])
            else:
                write_json(records / f"{experiment.name}.json", done[-1])
    return done, failed


def run_experiment(
    experiment: Experiment, output: Path, register: Sequence[str] = ()
) -> dict[str, Any]:
    """Train, going on from the last checkpoint if there is one, and give the record.

    Args:
        experiment: the run.
        output: its OUTPUT_DIR is the folder of its name in here.
        register: see :func:`run_queue`.

    Raises:
        InputError: the training failed, and the message is its last lines; or see
            :func:`selfsam_d2.engine.run_folder.begin_run` and
            :func:`selfsam_d2.engine.folder_lock.locked`.
    """
    folder = output / experiment.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"cannot be written ({error.strerror})") from error
    with locked(folder) as lock:
        commit = begin_run(folder, experiment.settings())
        command = [
            *(sys.executable, str(TRAIN_NET), "--config-file", experiment.config_file),
            *(["--resume"] if has_checkpoint(folder) else []),
            *register,
            *experiment.overrides,
            *("OUTPUT_DIR", str(folder), "SELF_REFINE.BASE_STORE", str(output / "base_masks")),
        ]
        seconds = _train(command, folder, lock)
        return make_record(experiment, folder, seconds, commit, _base(folder))


def evaluate_experiment(
    experiment: Experiment, output: Path, register: Sequence[str] = ()
) -> dict[str, Any]:
    """Evaluate what a run has trained, with keys of the prediction of its own, and give the record.

    Args:
        experiment: the run; its settings may differ from those of the training in the keys of
            :data:`selfsam_d2.engine.run_folder.PREDICTION_KEYS`.
        output: the trained model lies in the folder of its name in here.
        register: see :func:`run_queue`.

    Returns:
        the record, with steps and seconds of the training and no curve.

    Raises:
        InputError: there is no trained model, it has other settings, or the evaluation failed.
    """
    folder = output / experiment.name
    if not (folder / MODEL).is_file():
        raise InputError(folder, f"holds no {MODEL}; train it first, without --eval-only")
    with locked(folder) as lock:
        commit = commits_of_trained(folder, experiment.settings())
        command = [
            *(sys.executable, str(TRAIN_NET), "--config-file", experiment.config_file),
            *("--eval-only", *register, *experiment.overrides),
            *("MODEL.WEIGHTS", str(folder / MODEL), "OUTPUT_DIR", str(folder / EVALUATION)),
        ]
        _run(command, folder / CONSOLE, lock)
        seconds = read_seconds(folder)
        evaluation = folder / EVALUATION
        return make_record(experiment, folder, seconds, commit, _base(folder), evaluation)


def _base(folder: Path) -> str:
    return base_of_model(read_checkpoint(folder / MODEL)["model"])


def _train(command: Sequence[str], folder: Path, lock: IO[str]) -> float:
    """Seconds that a training and the earlier starts of its run took."""
    before = read_seconds(folder)
    started = time.monotonic()

    def keep_time() -> None:
        write_seconds(folder, before + time.monotonic() - started)

    _run(command, folder / CONSOLE, lock, keep_time)
    return read_seconds(folder)


def _run(
    command: Sequence[str], console: Path, lock: IO[str], tick: Callable[[], None] | None = None
) -> None:
    """Wait for a process, and call tick now and then and at its end."""
    with console.open("a", encoding="utf-8") as file, _child(command, file, lock) as process:
        while True:
            try:
                status = process.wait(timeout=TICK)
            except subprocess.TimeoutExpired:
                status = None
            if tick is not None:
                tick()
            if status is not None:
                break
    if status:
        raise InputError(console, f"the process ended with status {status}: {_ending(console)}")


@contextmanager
def _child(
    command: Sequence[str], output: IO[str], lock: IO[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive this one, if this one is asked to end.

    If this one is killed it lives on, and with it the lock.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(STOPPED + number)

    # nohup has hang-ups ignored, which must stay so.
    asked = [each for each in STOPS if signal.getsignal(each) is not signal.SIG_IGN]
    previous = {each: signal.signal(each, stop) for each in asked}
    # Modules are looked for where this one was, also where the package is not installed.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        GIVEN: str(lock.fileno()),
    }
    process = subprocess.Popen(
        command, stdout=output, stderr=output, env=environment, pass_fds=[lock.fileno()]
    )
    try:
        lock.write(f"{process.pid}\n")
        lock.flush()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        for each, handler in previous.items():
            signal.signal(each, handler)


def _ending(console: Path) -> str:
    lines = console.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " ".join(line.strip() for line in lines[-LAST_LINES:]) or "it said nothing"

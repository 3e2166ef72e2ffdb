"""Run trainings one after the other, each in a process of its own, over any number of starts."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from selfsam_d2.engine.experiments import Experiment, make_record, read_record
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.summary import write_json

__all__ = ["run_experiment", "run_queue"]

logger = logging.getLogger(__name__)

TRAIN_NET = Path(__file__).parents[2] / "tools" / "train_net.py"
CONSOLE = "console.txt"
CLOCK = "seconds.json"
TICK = 10.0  # s between two writings of the time that a run has taken
LAST_LINES = 3
STOPPED = 128


def run_queue(
    experiments: Sequence[Experiment],
    output: Path,
    records: Path,
    register: Sequence[str] = (),
    *,
    train: bool = True,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Run what has no record yet and keep a record of each.

    Args:
        experiments: in the order to run them.
        output: folder of the runs, each in a folder of its own, and of the base masks that they
            share.
        records: folder of the records, one JSON each.
        register: ``--register NAME JSON IMAGE_ROOT`` options for the trainings.
        train: False: only collect the records that are there.

    Returns:
        records of all that are done, in the given order, and a line for each that failed.

    Raises:
        InputError: a record is damaged or of a run with other settings.
    """
    done, failed = [], []
    # Before hours are spent: is every record one of these runs?
    known = [read_record(records / f"{each.name}.json", each) for each in experiments]
    for number, (experiment, record) in enumerate(zip(experiments, known, strict=True), start=1):
        if record is not None:
            done.append(record)
        elif train:
            logger.info("run %d of %d: %s", number, len(experiments), experiment.name)
            try:
                done.append(run_experiment(experiment, output, register))
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
        InputError: the training failed; the message is its last line.
    """
    folder = output / experiment.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"cannot be written ({error.strerror})") from error
    command = [
        *(sys.executable, str(TRAIN_NET), "--config-file", experiment.config_file),
        *(["--resume"] if (folder / "last_checkpoint").is_file() else []),
        *register,
        *experiment.overrides,
        *("OUTPUT_DIR", str(folder), "SELF_REFINE.BASE_STORE", str(output / "base_masks")),
    ]
    console = folder / CONSOLE
    before = _read_seconds(folder)
    started = time.monotonic()
    with console.open("a", encoding="utf-8") as file, _child(command, file) as process:
        while True:
            try:
                status = process.wait(timeout=TICK)
                break
            except subprocess.TimeoutExpired:
                write_json(folder / CLOCK, {"seconds": before + time.monotonic() - started})
    seconds = before + time.monotonic() - started
    write_json(folder / CLOCK, {"seconds": seconds})
    if status:
        raise InputError(console, f"the training ended with status {status}: {_ending(console)}")
    return make_record(experiment, folder, seconds)


@contextmanager
def _child(command: Sequence[str], output: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive this one, if this one is asked to end."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(STOPPED + number)

    previous = signal.signal(signal.SIGTERM, stop)
    # Modules are looked for where this one was, also where the package is not installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        signal.signal(signal.SIGTERM, previous)


def _read_seconds(folder: Path) -> float:
    """Time that earlier starts of a run took; 0 for a run that begins anew."""
    if not (folder / "last_checkpoint").is_file() or not (folder / CLOCK).is_file():
        return 0.0
    try:
        return float(json.loads((folder / CLOCK).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(folder / CLOCK, f"cannot be read ({error}); delete the folder") from error


def _ending(console: Path) -> str:
    lines = console.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " ".join(line.strip() for line in lines[-LAST_LINES:]) or "it said nothing"

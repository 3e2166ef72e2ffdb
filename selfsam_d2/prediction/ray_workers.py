"""Images and slides on a Ray cluster, one task for each."""

from __future__ import annotations

import importlib
import io
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.options import Outputs, Predict, say
from selfsam_d2.prediction.run import (
    Report,
    Task,
    begin,
    finish,
    process,
    started_again,
    warn_of_unknown_resolution,
)
from selfsam_d2.structures.muted_stderr import muted_stderr

__all__ = ["LOCAL", "predict_on_ray"]

LOCAL = "local"  # address of a cluster that is started for this run alone
AUTO = "auto"  # address of the cluster of this machine
LOOPBACK = ("127.0.0.1", "localhost", "::1")
STORE = 100 * 2**20  # bytes of its object store
PATIENCE = 5.0  # s
REMEDY = (
    "give HOST:PORT of a running cluster, which `ray start --head` prints and `ray status` looks "
    "for, or local"
)


@dataclass(frozen=True)
class _Answer:
    """What became of a task; ``error`` is one that ends the run."""

    report: Report
    stdout: str
    stderr: str
    error: str | None


class _Worker:
    """Keeps a predictor for the tasks that come to it."""

    def __init__(self, build: Callable[[], Predict]) -> None:
        self._build = build
        self._predictor: Predict | None = None

    def fingerprint(self) -> tuple[str, str | None]:
        """Of the model, and None; or the error in its place."""
        try:
            return self._loaded().fingerprint, None
        except InputError as problem:
            return "", str(problem)

    def _loaded(self) -> Predict:
        if self._predictor is None:
            self._predictor = self._build()
        return self._predictor

    def process(self, task: Task, outputs: Outputs) -> _Answer:
        """One task; what it says goes to who asked for it."""
        said, complained = io.StringIO(), io.StringIO()
        report, error = Report(), None
        with redirect_stdout(said), redirect_stderr(complained):
            try:
                predictor = self._loaded()
                warn_of_unknown_resolution(predictor, [task])
                report = process(predictor, task, outputs, tqdm(total=0, disable=True))
            except InputError as problem:
                error = str(problem)
        return _Answer(report, said.getvalue(), complained.getvalue(), error)


def predict_on_ray(
    address: str,
    count: int | None,
    build: Callable[[], Predict],
    tasks: Sequence[Task],
    outputs: Outputs,
) -> None:
    """Predict with as many workers as the cluster has GPUs, or CPUs where it has no GPU.

    All machines see the files under the same paths and have this package installed.

    Args:
        address: of the cluster, ``auto`` for that of this machine, or ``local``.
        count: of workers at most; None: as many as there is room for.
        build: makes a predictor; it can be pickled.
        tasks: from :func:`selfsam_d2.prediction.run.plan`.
        outputs: the same as there.

    Raises:
        InputError: Ray is not installed, there is no cluster, images failed, or an error that
            would be the same for all images.
    """
    ray = _ray()
    placed = replace(outputs, folder=outputs.folder.resolve())
    try:
        _connect(ray, address, count)
        report = _spread(ray, count, build, [_absolute(task) for task in tasks], placed)
    except ray.exceptions.RayActorError as error:
        raise InputError(
            f"--ray {address}",
            f"a worker was lost, as when memory runs out; {started_again(outputs)}",
        ) from error
    finally:
        ray.shutdown()
    finish(report, tasks, outputs)


def _ray() -> Any:
    try:
        importlib.import_module("ray.util")
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            "--ray", "needs the extra `ray`: python -m pip install '.[ray]'"
        ) from error


def _connect(ray: Any, address: str, count: int | None) -> None:
    """Start a cluster, or find that of an address.

    Raises:
        InputError: there is none.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    options: dict[str, Any]
    if address == LOCAL:
        # Images go by their paths, so objects are small.
        options = {"num_cpus": count, "object_store_memory": STORE, "include_dashboard": False}
    else:
        options = {"address": address}
        _require_answer(ray, address)
    try:
        with muted_stderr():
            ray.init(**options, logging_level="ERROR", log_to_driver=False)
    except Exception as error:  # Ray has no class of its own for this
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"--ray {address}", f"no cluster there ({reason}); {REMEDY}") from error


def _require_answer(ray: Any, address: str) -> None:
    """Ask a HOST:PORT for a connection: Ray itself tries for two minutes, with twenty lines.

    Raises:
        InputError: nobody takes it, or it is no address.
    """
    if address == AUTO:
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"--ray {address}", f"is no address ({error}); {REMEDY}") from error
    if host is None or port is None:
        raise InputError(f"--ray {address}", f"is no address; {REMEDY}")
    # For the loopback device Ray takes the address of this machine that others see.
    hosts = [host, *([ray.util.get_node_ip_address()] if host in LOOPBACK else [])]
    reasons = []
    for each in hosts:
        try:
            socket.create_connection((each, port), PATIENCE).close()
            return
        except OSError as error:
            reasons.append(error.strerror or str(error))
    raise InputError(f"--ray {address}", f"nothing answers there ({reasons[0]}); {REMEDY}")


def _absolute(task: Task) -> Task:
    """Another machine, or a worker of this one, has another folder of work."""
    source: Any = task.source
    return replace(task, source=replace(source, path=source.path.absolute()))


def _spread(
    ray: Any,
    count: int | None,
    build: Callable[[], Predict],
    tasks: Sequence[Task],
    outputs: Outputs,
) -> Report:
    waiting = [task for task in tasks if task.formats]
    there = ray.cluster_resources()
    kind = "GPU" if there.get("GPU") else "CPU"
    room = max(1, int(there.get(kind, 1)))
    number = max(1, min(count or room, room, len(waiting)))
    actor = ray.remote(**{f"num_{kind.lower()}s": 1})(_Worker)
    workers = [actor.remote(build) for _ in range(number)]
    model, error = ray.get(workers[0].fingerprint.remote())
    if error is not None:
        raise InputError(error)
    begin(tasks, outputs, model)
    pool = ray.util.ActorPool(workers)
    report = Report()
    said: set[str] = set()  # each worker tells what is the same for all images
    with tqdm(total=len(waiting), unit="image", disable=None) as bar:
        for answer in pool.map_unordered(
            lambda worker, task: worker.process.remote(task, outputs), waiting
        ):
            bar.update()
            for text, stream in ((answer.stdout, sys.stdout), (answer.stderr, sys.stderr)):
                for line in text.splitlines():
                    if line not in said:
                        say(line, stream)
                    said.add(line)
            if answer.error is not None:
                raise InputError(answer.error)
            report += answer.report
    return report

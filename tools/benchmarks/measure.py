"""Time two functions in turns, and the memory of a function in a process of its own."""

from __future__ import annotations

import gc
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

__all__ = ["Line", "Timing", "device", "in_own_process", "interleave"]

GIGABYTE = 1e9


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        key: name of the ratio or of the absolute figure.
        work: what was done.
        unit: of ``ours`` and ``other``.
        ours: this package, a median where it is a time.
        other: the plain way; None for an absolute figure.
        target: of the ratio, or of ``ours`` where there is no other; None: none was set.
        raw: every figure measured.
    """

    key: str
    work: str
    unit: str
    ours: float
    other: float | None
    target: float | None
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours / other: smaller is better."""
        return None if self.other is None else self.ours / self.other


@dataclass(frozen=True)
class Timing:
    """Seconds of each repeat of two functions that were run in turns."""

    ours: list[float]
    other: list[float]

    @property
    def medians(self) -> tuple[float, float]:
        """Seconds, (ours, other)."""
        return statistics.median(self.ours), statistics.median(self.other)

    def raw(self) -> dict[str, list[float]]:
        """As it goes to the JSON file."""
        return {"ours_seconds": self.ours, "other_seconds": self.other}


def device() -> torch.device:
    """The GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def interleave(ours: Callable[[], object], other: Callable[[], object], repeats: int) -> Timing:
    """Run two functions in turns, so that a machine that slows down slows both."""
    ours()
    other()
    timing = Timing([], [])
    for _ in range(repeats):
        timing.ours.append(_seconds(ours))
        timing.other.append(_seconds(other))
    return timing


def _seconds(function: Callable[[], object]) -> float:
    gc.collect()
    _synchronise()
    start = time.perf_counter()
    function()
    _synchronise()
    return time.perf_counter() - start


def _synchronise() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def in_own_process(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> dict[str, Any]:
    """Prepare and run something in a fresh process, and read its memory.

    Args:
        prepare: a function of a module; called with the arguments it gives what is measured.
        arguments: what can be pickled.

    Returns:
        ``peak_gb``: the largest memory of the process (of the GPU, where there is one) from when it
        was prepared, GB; ``added_gb``: by how much that is above what was taken then; ``seconds``;
        ``result``.

    Raises:
        RuntimeError: the process ended without a result, as when memory runs out.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, prepare, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        measured: dict[str, Any] = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"{prepare.__name__}{arguments} ended with status {process.exitcode}; out of memory?"
        ) from None
    process.join()
    return measured


def _measure(sender: Any, prepare: Callable[..., Callable[[], Any]], arguments: Any) -> None:
    run = prepare(*arguments)
    gc.collect()
    _forget_peak()
    before = _memory_now()
    start = time.perf_counter()
    result = run()
    _synchronise()
    seconds = time.perf_counter() - start
    peak = _peak_memory()
    sender.send(
        {
            "peak_gb": peak / GIGABYTE,
            "added_gb": (peak - before) / GIGABYTE,
            "seconds": seconds,
            "result": result,
        }
    )


def _forget_peak() -> None:
    """Let the peak begin anew, so that what came before is not in it; only on Linux and GPUs."""
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def _memory_now() -> float:
    if device().type == "cuda":
        return torch.cuda.memory_allocated()
    return _status("VmRSS") or _peak_memory()


def _peak_memory() -> float:
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    # Not ru_maxrss where there is a choice: Linux hands that of the parent process down.
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or kilobyte * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status(name: str) -> float | None:
    """Bytes that Linux states for this process; None on other systems."""
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    match = re.search(rf"{name}:\s+(\d+) kB", path.read_text())
    return None if match is None else 1024.0 * int(match[1])

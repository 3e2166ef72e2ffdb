#!/usr/bin/env python
"""Measure this package beside the plain way of doing the same, as ratios on one machine.

    python tools/benchmark.py --json output/benchmark.json

A ratio is ours / other: smaller is better. Times are medians of repeats taken in turns, memory is
the peak of a process of its own. ``--full`` also measures how cost grows and draws a plot.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import detectron2
import torch
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.growth import draw_growth, measure_growth
from benchmarks.lines import LINES, RATIOS
from benchmarks.measure import Line, device
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import InputError, SelfSAMError, run_command
from selfsam_d2.evaluation.summary import write_json

PACKAGES = (
    "torch",
    "timm",
    "segment-anything",
    "scikit-image",
    "opencv-python-headless",
    "numpy",
    "scipy",
)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=LINES,
        default=list(LINES),
        metavar="NAME",
        help=", ".join(LINES),
    )
    parser.add_argument("--repeats", type=int, default=5, help="of each time")
    parser.add_argument("--full", action="store_true", help="also how cost grows, with a plot")
    parser.add_argument(
        "--plot", type=Path, default=Path("output/growth.png"), help="picture of --full"
    )
    return parser.parse_args()


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before anything is measured.

    Raises:
        InputError: its folder cannot be made or written, or it is a folder itself.
    """
    if path.is_dir():
        raise InputError(path, "is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(
            path, f"cannot be written ({error.strerror}); choose another file"
        ) from error


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on and with."""
    return {
        "device": torch.cuda.get_device_name() if device().type == "cuda" else "cpu",
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {
            "detectron2": detectron2.__version__,  # it comes from distributions of several names
            **{name: version(name) for name in PACKAGES},
        },
    }


def _processor() -> str:
    """Model of the CPU where Linux tells it, else its family."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def format_table(lines: list[Line]) -> str:
    """The lines as a table."""
    rows = []
    for line in lines:
        reached = line.ratio if line.other is not None else line.ours
        verdict = "" if line.target is None else ("yes" if reached <= line.target else "no")
        other = "" if line.other is None else f"{line.other:.4g} {line.unit}"
        ratio = "" if line.ratio is None else f"{line.ratio:.3f}"
        target = "" if line.target is None else f"{line.target:.3g}"
        rows.append([line.work, f"{line.ours:.4g} {line.unit}", other, ratio, target, verdict])
    heads = ["work", "ours", "other", "ratio", "at most", "reached"]
    return tabulate(rows, heads, disable_numparse=True)


def as_json(
    lines: list[Line],
    growth: dict[str, Any] | None,
    machine: dict[str, Any],
    failed: dict[str, str],
) -> dict[str, Any]:
    """The form of the JSON file."""
    return {
        "ratios": {line.key: line.ratio for line in lines if line.key in RATIOS},
        "absolute": {line.key: line.ours for line in lines if line.ratio is None},
        "lines": {line.key: {**vars(line), "ratio": line.ratio} for line in lines},
        "growth": growth,
        "environment": machine,
        "failed": failed,
    }


def main() -> None:
    """Measure, print the table, write the JSON."""
    arguments = parse_arguments()
    if arguments.repeats < 1:
        raise InputError(f"--repeats {arguments.repeats}", "at least 1 is needed")
    for path in (arguments.json, arguments.plot if arguments.full else None):
        if path is not None:
            check_writable(path)
    machine = describe_machine()
    lines: list[Line] = []
    growth: dict[str, Any] | None = None
    failed: dict[str, str] = {}

    def save() -> None:
        if arguments.json is not None:
            write_json(arguments.json, as_json(lines, growth, machine, failed))

    progress = tqdm(arguments.only, unit="part", file=sys.stderr)
    for name in progress:
        progress.set_description(name)
        try:
            lines += LINES[name](arguments.repeats)
        # Such as no memory for ViT-H; the other lines still count.
        except (RuntimeError, MemoryError, OSError) as error:
            failed[name] = str(error) or type(error).__name__
        save()  # what was measured outlives what comes next
    sys.stdout.write(f"{format_table(lines)}\n")
    if arguments.full:
        growth = measure_growth()
        draw_growth(growth, arguments.plot)
        save()
        sys.stdout.write(f"growth: {arguments.plot}\n")
    sys.stdout.write(
        f"{machine['threads']} threads, {machine['device']}, {machine['processor']}, "
        f"Python {machine['python']}, "
        + ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
        + "\n"
    )
    if failed:
        raise SelfSAMError("; ".join(f"{name} failed: {why}" for name, why in failed.items()))


if __name__ == "__main__":
    run_command(main)

#!/usr/bin/env python
"""See SelfSAM learn from points in a few minutes: ``python tools/demo.py --output output/demo``.

Writes synthetic H&E images, trains on their points, evaluates before and after, and leaves
pictures, curves and ``report.html`` in the output folder. ``KEY VALUE`` pairs at the end override
the config. Exit status: 0; 1 if AJI and Dice are not both higher after training; 2 for bad input.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.engine.demo import DemoOptions, run_demo
from selfsam_d2.engine.demo_report import format_comparison, write_demo_report
from selfsam_d2.errors import run_command

CONFIG_FILE = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"


def parse_arguments() -> DemoOptions:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = DemoOptions(output=Path("output/demo"), config_file=CONFIG_FILE)
    options: list[tuple[str, type, str]] = [
        (
            "output",
            Path,
            "folder of all that is written; that of an earlier demo is emptied",
        ),
        ("config-file", Path, "YAML of the training"),
        ("steps", int, "training steps (default: as in the config)"),
        ("seed", int, "of images, training and augmentation"),
        ("train-images", int, "number of training images"),
        ("val-images", int, "number of validation images"),
        ("size", int, "side of an image, px"),
    ]
    for name, kind, text in options:
        default = getattr(defaults, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of the config")
    return DemoOptions(**vars(parser.parse_intermixed_args()))


def announce(what: str) -> None:
    """Say on stdout what is begun."""
    sys.stdout.write(f"{what} ...\n")
    sys.stdout.flush()


def main() -> None:
    """Run the demo, write the report, print the table."""
    start = time.perf_counter()
    run = run_demo(parse_arguments(), announce)
    report = write_demo_report(run)
    minutes, seconds = divmod(round(time.perf_counter() - start), 60)
    sys.stdout.write(
        f"\n{format_comparison(run)}\n\n"
        f"took {minutes} min {seconds} s; open {report}\n"
        f"pictures: {report.parent / 'overlays'}, log: {run.config.OUTPUT_DIR}/log.txt\n"
    )
    if not run.improved:
        sys.stderr.write(
            "error: AJI and Dice are not both above those of the untrained model; "
            "train longer (--steps)\n"
        )
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)

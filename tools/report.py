#!/usr/bin/env python
"""Write a training as one HTML page: result, images with their errors, curves, labels, config.

    python tools/report.py output/monuseg_vitt
    python tools/report.py output/mine

RUN_DIR is the OUTPUT_DIR of tools/train_net.py, of a training that has ended or not; datasets that
lie elsewhere since then are named by --register NAME JSON IMAGE_ROOT. The page holds
its pictures, asks no host for anything, and reads without JavaScript. What the run does not hold is
left out, or said in one line. Predictions of test images are those that the last evaluation left
(TEST.COCO_AP); without them three images are predicted with the last checkpoint, and so are up to a
dozen training images, which are compared with their points.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.engine.finished_run import read_run
from selfsam_d2.engine.named_datasets import kept_datasets
from selfsam_d2.engine.run_report import ReportOptions, write_run_report
from selfsam_d2.engine.setup import add_register_option, register_given
from selfsam_d2.errors import InputError, run_command


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="OUTPUT_DIR of a training")
    parser.add_argument("--output", type=Path, help="HTML file (default: report.html in RUN_DIR)")
    parser.add_argument("--dataset", help="one of DATASETS.TEST (default: the first one)")
    parser.add_argument(
        "--weights", help="predict the images that are shown anew, with this checkpoint"
    )
    parser.add_argument(
        "--crops",
        type=int,
        default=2,
        help="training crops whose labels are shown; above SELF_REFINE.HISTORY_CROPS they are made "
        "again by the checkpoints (default: 2)",
    )
    add_register_option(parser)
    return parser.parse_args()


def main() -> None:
    """Check the options, write the page, name it."""
    arguments = parse_arguments()
    if arguments.crops < 0:
        raise InputError(f"--crops {arguments.crops}", "0 crops or more are needed")
    for _, json_file, _ in arguments.register:
        if not Path(json_file).is_file():
            raise InputError(json_file, "no such file; check the path")
    logging.captureWarnings(True)
    output = arguments.output or arguments.run / "report.html"
    if not output.parent.is_dir() and output.parent != arguments.run:
        raise InputError(output, f"no folder {output.parent}; make it")
    run = read_run(arguments.run)
    given = {name for name, *_ in arguments.register}
    kept = [each for each in kept_datasets(arguments.run) if each[0] not in given]
    register_given([*arguments.register, *kept], run.cfg)
    written = write_run_report(
        run,
        ReportOptions(
            output=output,
            dataset=arguments.dataset,
            weights=arguments.weights,
            crops=arguments.crops,
        ),
    )
    sys.stdout.write(f"{written}\n")


if __name__ == "__main__":
    run_command(main)

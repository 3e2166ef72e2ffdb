#!/usr/bin/env python
"""Draw training crops with masks, labels, ignored pixels and prediction, at a checkpoint.

    python tools/visualize_pseudo_labels.py --config-file configs/monuseg_vitt.yaml \
        --weights output/monuseg_vitt/model_final.pth --output output/labels

Writes one PNG per crop. ``--register NAME JSON IMAGE_ROOT`` (repeatable) makes a COCO file a
dataset; ``KEY VALUE`` pairs at the end override the config.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.engine.checks import check_config, require_selfsam
from selfsam_d2.engine.crop_trainer import build_schedule
from selfsam_d2.engine.crop_views import load_in_epoch
from selfsam_d2.engine.setup import add_register_option, load_config, register_given
from selfsam_d2.engine.training_crops import view_training_crops
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.visualization.label_figure import draw_label_figure


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="YAML of the training")
    add_register_option(parser)
    parser.add_argument(
        "--weights", help="checkpoint, URL or name of weights (default: MODEL.WEIGHTS)"
    )
    parser.add_argument("--crops", type=int, default=4, help="number of crops")
    parser.add_argument(
        "--epoch",
        type=int,
        help="of the labels, from 0 (default: the checkpoint's, or 0 for bare weights)",
    )
    parser.add_argument(
        "--alpha", type=float, help="weight of the base masks, 0 to 1 (default: the epoch's)"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of the config")
    return parser.parse_intermixed_args()


def main() -> None:
    """Draw and write one picture per crop."""
    arguments = parse_arguments()
    if arguments.crops < 1:
        raise InputError(f"--crops {arguments.crops}", "at least 1 crop is needed")
    if arguments.alpha is not None and not 0 <= arguments.alpha <= 1:
        raise InputError(f"--alpha {arguments.alpha}", "a weight from 0 to 1 is needed")
    logging.captureWarnings(True)
    cfg = load_config(arguments.config_file, arguments.overrides)
    register_given(arguments.register, cfg)
    check_config(cfg)
    require_selfsam(cfg)
    schedule = build_schedule(cfg)
    weights = arguments.weights or cfg.MODEL.WEIGHTS
    model, epoch = load_in_epoch(cfg, schedule, weights, arguments.epoch)
    if arguments.alpha is not None:
        model.alpha = arguments.alpha
    views = view_training_crops(model, schedule, PointPromptDatasetMapper(cfg), arguments.crops)
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        for number, view in enumerate(views):
            path = arguments.output / f"crop_{number:02d}_{view.name}.png"
            draw_label_figure([view], path, title=f"{view.name}, {epoch}")
            sys.stdout.write(f"{path}\n")
    except OSError as error:
        raise InputError(arguments.output, f"cannot be written ({error.strerror})") from error


if __name__ == "__main__":
    run_command(main)

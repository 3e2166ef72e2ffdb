#!/usr/bin/env python
"""Write the refined instance labels of a training set as COCO JSON, for any model of Detectron2.

    python tools/export_pseudo_labels.py --config-file configs/monuseg_vitt.yaml \
        --weights output/monuseg_vitt/model_final.pth --output labels.json

The labels are those that the training has in the checkpoint's epoch, made from points alone; bare
weights such as ``mobile_sam`` give those that it begins with, ``--epoch`` those of another epoch. A
nucleus keeps the ids and the point of its annotation; one without a pixel is left out, and how many
is said. Ignored pixels become a crowd region. ``--register NAME JSON IMAGE_ROOT``
(repeatable) makes a COCO file a dataset; ``KEY VALUE`` pairs at the end override the config.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from selfsam_d2.data.coco_json import write_coco_json
from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.engine.checks import check_config, require_selfsam
from selfsam_d2.engine.crop_trainer import build_schedule
from selfsam_d2.engine.crop_views import load_in_epoch
from selfsam_d2.engine.pseudo_label_export import export_labels, image_root_of
from selfsam_d2.engine.setup import add_register_option, load_config, register_given
from selfsam_d2.errors import InputError, run_command


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="YAML of the training")
    add_register_option(parser)
    parser.add_argument("--weights", required=True, help="checkpoint, URL or name of weights")
    parser.add_argument(
        "--epoch", type=int, help="of the labels, from 0 (default: what the weights are of)"
    )
    parser.add_argument("--output", type=Path, required=True, help="COCO JSON to write")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of the config")
    return parser.parse_intermixed_args()


def main() -> None:
    """Label the images, write the JSON, say what is in it and how to use it."""
    arguments = parse_arguments()
    logging.captureWarnings(True)
    cfg = load_config(arguments.config_file, arguments.overrides)
    register_given(arguments.register, cfg)
    check_config(cfg)
    require_selfsam(cfg)
    if len(cfg.DATASETS.TRAIN) != 1:
        raise InputError(f"DATASETS.TRAIN {cfg.DATASETS.TRAIN}", "name exactly one dataset")
    (name,) = cfg.DATASETS.TRAIN
    schedule = build_schedule(cfg)
    image_root = image_root_of(name)
    model, epoch = load_in_epoch(cfg, schedule, arguments.weights, arguments.epoch)
    exported = export_labels(
        model,
        schedule.records,
        PointPromptDatasetMapper(cfg),
        image_root=image_root,
        window=cfg.INPUT.NUCLEI.CROP,
        overlap=cfg.INFERENCE.OVERLAP,
    )
    write_coco_json(arguments.output, exported.coco(f"labels of {name} made from points"))
    sys.stdout.write(
        f"{arguments.output}: {exported.summary()} ({epoch}, alpha {model.alpha:.3f})\n"
        f"use it with: --register {name}_pseudo {arguments.output} {image_root}\n"
    )


if __name__ == "__main__":
    run_command(main)

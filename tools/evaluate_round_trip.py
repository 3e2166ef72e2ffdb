#!/usr/bin/env python
"""Score what the post-processing makes of perfect maps: the ceiling that its settings put.

    python tools/evaluate_round_trip.py --labels DIR [--config-file configs/monuseg_vitt.yaml]

Each true label map (PNG, TIFF or npy) is turned into its foreground and HV map, post-processed, and
compared with itself. The table goes to stdout; ``KEY VALUE`` pairs at the end override the config
(POSTPROCESS.* is what matters here).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import run_command
from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.evaluation.summary import format_table, summarise
from selfsam_d2.losses.hv import hv_map
from selfsam_d2.modeling.inference import NucleiInference
from selfsam_d2.modeling.postprocess import separate_nuclei
from selfsam_d2.structures.label_maps import find_label_maps, read_label_map


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=Path, required=True, help="folder of true label maps")
    parser.add_argument("--config-file", default="", help="YAML (default: the paper's settings)")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of the config")
    return parser.parse_intermixed_args()


def main() -> None:
    """Post-process, score, print the table."""
    arguments = parse_arguments()
    cfg = load_config(arguments.config_file, arguments.overrides)
    settings = NucleiInference(cfg).postprocess
    scores = {}
    for stem, path in find_label_maps(arguments.labels).items():
        true = read_label_map(path)
        hv = hv_map(torch.from_numpy(true.astype(np.int64))).numpy()
        found = separate_nuclei((true > 0).astype(np.float32), hv, settings)
        scores[stem] = nuclei_metrics(true, found)
    sys.stdout.write(format_table(summarise(scores)) + "\n")


if __name__ == "__main__":
    run_command(main)

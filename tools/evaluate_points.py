#!/usr/bin/env python
"""Score the masks that SAM draws for the points of a dataset, without any training.

    python tools/evaluate_points.py --config-file configs/monuseg_vitt.yaml --output output/points

The dataset is DATASETS.TEST; its annotations need masks to score against, and its points (given or
made from the masks) are the prompts. PROMPT.* and PSEUDO_LABEL.* say how a point becomes a prompt
and how far a mask may reach. Writes ``nuclei_metrics.json`` and prints the table.
``--register NAME JSON IMAGE_ROOT`` (repeatable) makes a COCO file a dataset; ``KEY VALUE`` pairs at
the end override the config.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer
from selfsam_d2.engine.checks import check_config, require_selfsam
from selfsam_d2.engine.data_checks import load_records
from selfsam_d2.engine.prompted import segment_with_points
from selfsam_d2.engine.setup import add_register_option, load_config, register_given
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.evaluation.nuclei_evaluator import RESULTS_FILE, NucleiEvaluator
from selfsam_d2.evaluation.summary import format_table


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="YAML of the model and the prompts")
    add_register_option(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of the config")
    return parser.parse_intermixed_args()


def main() -> None:
    """Segment, score, print the table."""
    arguments = parse_arguments()
    logging.captureWarnings(True)
    cfg = load_config(arguments.config_file, arguments.overrides)
    register_given(arguments.register, cfg)
    check_config(cfg)
    require_selfsam(cfg)
    if len(cfg.DATASETS.TEST) != 1:
        raise InputError(f"DATASETS.TEST {cfg.DATASETS.TEST}", "name exactly one dataset")
    (name,) = cfg.DATASETS.TEST
    evaluator = NucleiEvaluator(name, output_dir=arguments.output)
    model = SelfSAMTrainer.build_model(cfg)
    SelfSAMCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    records = load_records([name])
    segmented = segment_with_points(
        model,
        records,
        PointPromptDatasetMapper(cfg),
        window=cfg.INPUT.NUCLEI.CROP,
        overlap=cfg.INFERENCE.OVERLAP,
    )
    # No bar where stderr is a file.
    for record, instance_map in tqdm(segmented, total=len(records), unit="image", disable=None):
        evaluator.process([record], [{"instance_map": torch.from_numpy(instance_map)}])
    evaluator.evaluate()
    summary = json.loads((arguments.output / RESULTS_FILE).read_text(encoding="utf-8"))
    sys.stdout.write(format_table(summary) + "\n")


if __name__ == "__main__":
    run_command(main)

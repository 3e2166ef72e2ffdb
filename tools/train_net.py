#!/usr/bin/env python
"""Train or evaluate: ``python tools/train_net.py --config-file configs/monuseg_vitt.yaml``.

SelfSAM learns from points; any other meta-architecture, such as the Mask R-CNN of
``configs/mask_rcnn_sam_adapter_vitt_fpn.yaml``, from the masks of its training dataset.

The options are Detectron2's. ``--register NAME JSON IMAGE_ROOT`` (repeatable) makes a COCO file a
dataset; ``KEY VALUE`` pairs at the end override the config.
"""

from __future__ import annotations

import argparse

import torch

import selfsam_d2  # noqa: F401  # before detectron2, whose import warns

# isort: split
from detectron2.engine import launch

from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer
from selfsam_d2.engine.data_checks import check_evaluation, check_weights
from selfsam_d2.engine.setup import argument_parser, check_inputs, setup
from selfsam_d2.engine.trainer_choice import trainer_class
from selfsam_d2.errors import run_command


def run(args: argparse.Namespace) -> None:
    """Train or evaluate in this process."""
    cfg = setup(args)
    trainer_of = trainer_class(cfg)
    if args.eval_only:
        check_evaluation(cfg, needed=True)
        check_weights(cfg, resume=args.resume)
        model = trainer_of.build_model(cfg)
        SelfSAMCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(
            cfg.MODEL.WEIGHTS, resume=args.resume
        )
        trainer_of.test(cfg, model)
        return
    trainer = trainer_of(cfg, resume=args.resume)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


def main() -> None:
    """Parse the command line and start one process per GPU (one on a machine without)."""
    args = argument_parser().parse_args()
    processes = min(args.num_gpus, torch.cuda.device_count()) or 1
    if processes > 1:
        # Here an error is one line; from other processes it would come with a traceback.
        check_inputs(args)
    launch(
        run,
        processes,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


if __name__ == "__main__":
    run_command(main)

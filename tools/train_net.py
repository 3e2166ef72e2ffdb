#!/usr/bin/env python
"""Train or evaluate: ``python tools/train_net.py --config-file configs/monuseg_vitt.yaml``.

SelfSAM learns from points; any other meta-architecture, such as the Mask R-CNN of
``configs/mask_rcnn_sam_adapter_vitt_fpn.yaml``, from the masks of its training dataset.

A folder that holds a training is not trained into again: ``--resume`` goes on with it.

The options are Detectron2's. ``--num-gpus N`` starts N processes that share the crops of each step;
without a GPU they run on the CPU. ``--register NAME JSON IMAGE_ROOT`` (repeatable) makes a COCO
file a dataset; ``KEY VALUE`` pairs at the end override the config.
"""

from __future__ import annotations

import selfsam_d2  # noqa: F401  # before detectron2, whose import warns

# isort: split
from selfsam_d2.engine.data_checks import check_no_training
from selfsam_d2.engine.processes import check_processes, run_in_processes
from selfsam_d2.engine.setup import argument_parser, check_inputs, load_config
from selfsam_d2.engine.training_run import train_or_evaluate
from selfsam_d2.errors import InputError, run_command


def main() -> None:
    """Parse the command line and start the processes."""
    parser = argument_parser()
    args = parser.parse_args()
    if args.num_gpus < 1:
        raise InputError(f"--num-gpus {args.num_gpus}", "must be at least 1")
    dist_url = args.dist_url
    if dist_url == parser.get_default("dist_url"):
        if args.num_machines > 1:
            raise InputError("--dist-url", "with --num-machines: tcp://ADDRESS:PORT of machine 0")
        dist_url = "auto"
    if not args.eval_only:
        folder = load_config(args.config_file, args.opts).OUTPUT_DIR
        check_no_training(folder, resume=args.resume)
    if args.num_gpus * args.num_machines > 1:
        # Here, before it takes minutes to start, and once.
        cfg = check_inputs(args)
        check_processes(cfg, args.num_gpus, args.num_machines, trains=not args.eval_only)
    run_in_processes(
        train_or_evaluate,
        args.num_gpus,
        (args,),
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=dist_url,
    )


if __name__ == "__main__":
    run_command(main)

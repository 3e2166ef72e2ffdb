"""From the command line to a config that can run on this machine."""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_argument_parser, default_setup
from detectron2.utils import comm

from selfsam_d2.config import add_selfsam_config
from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.unreadable_images import tolerating
from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.config_files import merge_config_file, merge_config_text, merge_pairs
from selfsam_d2.engine.data_checks import (
    check_evaluation,
    check_training,
    check_weights,
    unreadable_at_start,
)
from selfsam_d2.engine.folder_lock import held_for_training
from selfsam_d2.engine.logs import start_logs
from selfsam_d2.engine.memory import keep_freed_memory
from selfsam_d2.engine.named_datasets import check_named, keep_datasets
from selfsam_d2.engine.training_resolution import set_training_resolution
from selfsam_d2.errors import InputError

__all__ = [
    "add_register_option",
    "argument_parser",
    "check_inputs",
    "config_from_text",
    "load_config",
    "register_given",
    "setup",
]

logger = logging.getLogger(__name__)


def argument_parser() -> argparse.ArgumentParser:
    """Detectron2's options and ``--register NAME JSON IMAGE_ROOT``."""
    detectron2_options = default_argument_parser()
    parser = OneLineParser(
        parents=[detectron2_options],
        add_help=False,
        epilog=detectron2_options.epilog,
        formatter_class=detectron2_options.formatter_class,
    )
    add_register_option(parser)
    return parser


def add_register_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--register NAME JSON IMAGE_ROOT``, which may be given several times."""
    parser.add_argument(
        "--register",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "JSON", "IMAGE_ROOT"),
        help="make a COCO file a dataset that DATASETS.TRAIN and DATASETS.TEST can name; "
        "may be given several times",
    )


def register_given(register: list[tuple[str, str, str]], cfg: CfgNode) -> None:
    """Register what ``--register`` names, with the centre rule of the config."""
    for name, json_file, image_root in register:
        register_nuclei_instances(name, json_file, image_root, centre=cfg.INPUT.NUCLEI.CENTRE)


def load_config(config_file: str, opts: list[str]) -> CfgNode:
    """A config from a YAML and ``KEY VALUE`` pairs, with a device that this machine has.

    See :func:`~selfsam_d2.engine.config_files.merge_config_file`.

    Raises:
        InputError: the file cannot be read, or a key or value is wrong.
    """
    cfg = get_cfg()
    add_selfsam_config(cfg)
    if config_file:
        merge_config_file(cfg, config_file)
    merge_pairs(cfg, opts)
    return _for_this_machine(cfg)


def config_from_text(text: str, subject: str, opts: Sequence[str] = ()) -> CfgNode:
    """A config from the YAML that ``cfg.dump()`` writes, for a device that this machine has.

    Args:
        text: the YAML.
        subject: where it stands, for messages.
        opts: KEY VALUE pairs over it.

    Raises:
        InputError: a key or value is wrong.
    """
    cfg = get_cfg()
    add_selfsam_config(cfg)
    merge_config_text(cfg, text, subject)
    merge_pairs(cfg, opts)
    return _for_this_machine(cfg)


def _for_this_machine(cfg: CfgNode) -> CfgNode:
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    if cfg.MODEL.DEVICE == "cpu":
        cfg.SOLVER.AMP.ENABLED = False
        keep_freed_memory()
    return cfg


def check_inputs(args: argparse.Namespace) -> CfgNode:
    """All checks of config, datasets, images and weights for a command line, without a log.

    Returns:
        The config.

    Raises:
        InputError: something cannot be used.
    """
    cfg = load_config(args.config_file, args.opts)
    register_given(args.register, cfg)
    check_named(args.register, cfg)
    check_config(cfg)
    check_evaluation(cfg, needed=args.eval_only)
    if not args.eval_only:
        with tolerating(unreadable_at_start(cfg, resume=args.resume)):
            set_training_resolution(cfg)
        check_training(cfg, resume=args.resume)
    check_weights(cfg, resume=args.resume)
    return cfg


@contextmanager
def setup(args: argparse.Namespace) -> Iterator[CfgNode]:
    """Register the datasets of the command line, freeze the config, start the log.

    The config of a training gets the resolution that the training images state. OUTPUT_DIR is held
    for a training until the end of the context.

    Raises:
        InputError: the config or a training dataset cannot be used, OUTPUT_DIR cannot be written,
            or another training is going on in it.
    """
    cfg = load_config(args.config_file, args.opts)
    register_given(args.register, cfg)
    check_named(args.register, cfg)
    check_config(cfg)
    with tolerating(unreadable_at_start(cfg, resume=args.resume)):
        resolution = None if args.eval_only else set_training_resolution(cfg)
    cfg.freeze()
    # It warns where a CUDA compiler but no GPU is found, which is no fault of the user's.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # Detectron2's anchors and pooling call PyTorch as it was; neither is of use to a user.
    warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
    logging.getLogger("torch.fx").setLevel(logging.ERROR)
    with ExitStack() as held:
        # Before the first file is written.
        unlocked = None if args.eval_only else _hold(held, cfg.OUTPUT_DIR)
        try:
            start_logs(cfg.OUTPUT_DIR)
            default_setup(cfg, args)
            if args.register and not args.eval_only and comm.is_main_process():
                keep_datasets(cfg.OUTPUT_DIR, args.register)
        except OSError as error:
            raise InputError(
                cfg.OUTPUT_DIR, f"cannot be written ({error.strerror}); choose another OUTPUT_DIR"
            ) from error
        logger.info("Device: %s, %d processes", cfg.MODEL.DEVICE, comm.get_world_size())
        if resolution is not None:
            logger.info("Resolution: %s", resolution)
        if unlocked is not None:
            logger.warning(
                "%s: cannot be locked (%s); start no other training in it", cfg.OUTPUT_DIR, unlocked
            )
        yield cfg


def _hold(held: ExitStack, folder: str) -> str | None:
    """The first process of all holds OUTPUT_DIR; why it cannot, see ``held_for_training``."""
    unlocked = None
    if comm.is_main_process():
        unlocked = held.enter_context(held_for_training(Path(folder)))
    # The others wait until it does; by gloo, which notices at once if it has ended instead.
    comm.all_gather(None)
    return unlocked

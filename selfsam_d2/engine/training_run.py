"""What a process of ``tools/train_net.py`` does."""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

from selfsam_d2.engine.architectures import predicts_by_windows
from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer
from selfsam_d2.engine.data_checks import check_evaluation, check_weights
from selfsam_d2.engine.expected_results import verify_results
from selfsam_d2.engine.setup import setup
from selfsam_d2.engine.trainer_choice import trainer_class
from selfsam_d2.modeling.name_matching import require_whole

__all__ = ["train_or_evaluate"]

logger = logging.getLogger(__name__)


def train_or_evaluate(args: argparse.Namespace) -> None:
    """Train, or with ``--eval-only`` evaluate, in this process.

    Args:
        args: of :func:`selfsam_d2.engine.setup.argument_parser`.

    Raises:
        SelfSAMError: something cannot be used, a loss became NaN or infinite, or the results are
            not those of ``TEST.EXPECTED_RESULTS``.
    """
    with setup(args) as cfg:
        _train_or_evaluate(cfg, args)


def _train_or_evaluate(cfg: CfgNode, args: argparse.Namespace) -> None:
    trainer_of = trainer_class(cfg)
    if args.eval_only:
        check_evaluation(cfg, needed=True)
        check_weights(cfg, resume=args.resume)
        model = trainer_of.build_model(cfg)
        loaded = SelfSAMCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(
            cfg.MODEL.WEIGHTS, resume=args.resume
        )
        require_whole(loaded, cfg.MODEL.WEIGHTS)
        results = trainer_of.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return
    trainer = trainer_of(cfg, resume=args.resume)
    trainer.resume_or_load(resume=args.resume)
    if trainer.start_iter >= trainer.max_iter:
        logger.info("all %d steps of this training were done before", trainer.max_iter)
    trainer.train()
    _say_what_is_there(cfg)


def _say_what_is_there(cfg: CfgNode) -> None:
    """Name the model, for who does not know Detectron2's names, and what it is good for."""
    model = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    logger.info("Finished: the model is %s", model)
    if predicts_by_windows(cfg):
        logger.info(
            "Nuclei of images: tools/predict.py --weights %s --input IMAGES --output NEW_FOLDER",
            shlex.quote(str(model)),
        )

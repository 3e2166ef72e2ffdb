"""The trainer of SelfSAM: from points, with label refresh and base masks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import hooks
from detectron2.engine.train_loop import HookBase
from torch.optim.lr_scheduler import LambdaLR

from selfsam_d2.data.base_cache import BaseCache
from selfsam_d2.data.label_store import LabelStore
from selfsam_d2.data.mapper import PointPromptDatasetMapper, share_outside
from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.engine.base_cache_hook import BaseCacheHook
from selfsam_d2.engine.checks import require_selfsam
from selfsam_d2.engine.crop_trainer import CropTrainer, index_of
from selfsam_d2.engine.epochs import enter_epoch, epoch_alpha, epoch_reprompts, without_effect
from selfsam_d2.engine.label_history_hook import HISTORY_FOLDER, LabelHistoryHook
from selfsam_d2.engine.self_refine_hook import SelfRefineHook
from selfsam_d2.engine.solver import cosine_factor
from selfsam_d2.engine.training_crops import view_training_crops
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY

__all__ = ["SelfSAMTrainer", "training_steps"]

logger = logging.getLogger(__name__)


def training_steps(cfg: Any, schedule: CropSchedule) -> tuple[int, int]:
    """(steps, epochs) of a run: SOLVER.MAX_ITER where it is set, else from SOLVER.EPOCHS."""
    per_epoch = schedule.crops_per_epoch / cfg.SOLVER.IMS_PER_BATCH
    if cfg.SOLVER.MAX_ITER > 0:
        last = schedule.epoch_of_step(cfg.SOLVER.MAX_ITER - 1)
        return cfg.SOLVER.MAX_ITER, last + 1
    return round(cfg.SOLVER.EPOCHS * per_epoch), cfg.SOLVER.EPOCHS


class SelfSAMTrainer(CropTrainer):
    """Trains SelfSAM from points.

    Args:
        cfg: with the keys of :func:`selfsam_d2.config.add_selfsam_config`.
        resume: see :class:`CropTrainer`.
    """

    def __init__(self, cfg: Any, *, resume: bool = False) -> None:
        require_selfsam(cfg)
        super().__init__(cfg, resume=resume)
        cfg = self.cfg
        self.max_iter, self.epochs = training_steps(cfg, self.schedule)
        self.store = None
        if cfg.SELF_REFINE.REFRESH == "epoch":
            self.store = LabelStore(cfg.SELF_REFINE.STORE or Path(cfg.OUTPUT_DIR) / "labels")
        without_base = frozenset(
            epoch
            for epoch in range(self.epochs)
            if epoch_alpha(cfg, epoch, self.epochs) == 0 or epoch_reprompts(cfg, epoch)
        )
        self.base_cache = None
        if cfg.SELF_REFINE.BASE_CACHE and len(without_base) < self.epochs:
            folder = cfg.SELF_REFINE.BASE_STORE or Path(cfg.OUTPUT_DIR) / "base_masks"
            self.base_cache = BaseCache(folder)
        self.mapper = PointPromptDatasetMapper(
            cfg,
            store=self.store,
            base_cache=self.base_cache,
            without_base=without_base,
        )
        self.assemble(self.mapper)
        self._log_plan()

    def _log_plan(self) -> None:
        logger.info(
            "%d images, %d crops per epoch, %d steps, %d epochs",
            len(self.schedule.records),
            self.schedule.crops_per_epoch,
            self.max_iter,
            self.epochs,
        )
        for subject, problem in without_effect(self.cfg, self.epochs):
            logger.warning("%s: %s", subject, problem)
        maker = self.cfg.PSEUDO_LABEL.NAME
        for loss in sorted(PSEUDO_LABEL_REGISTRY.get(maker).lacks_losses):
            key = f"{loss.removeprefix('loss_').upper()}_WEIGHT"
            if weight := self.cfg.MODEL.LOSS[key]:
                logger.info("MODEL.LOSS.%s %s counts as 0: %s has no such loss", key, weight, maker)
        nuclei = self.cfg.INPUT.NUCLEI
        if nuclei.SHIFT > 0:
            share = share_outside(self.schedule.records, self.mapper.points)
            outside = "an unknown share (no masks)" if share is None else f"{share:.1%}"
            logger.info(
                "points shifted by up to %g px (%s): %s lie outside their nucleus",
                nuclei.SHIFT,
                nuclei.SHIFT_LAW,
                outside,
            )

    def build_hooks(self) -> list[HookBase | None]:
        """As CropTrainer, the self-refine hook before the checkpointer."""
        built = super().build_hooks()
        refine = SelfRefineHook(
            self.schedule,
            lambda model, epoch: enter_epoch(model, self.cfg, epoch, self.epochs),
            mapper=self.mapper,
            unreadable=self.unreadable,
            store=self.store,
            window=self.cfg.INPUT.NUCLEI.CROP,
            overlap=self.cfg.INFERENCE.OVERLAP,
        )
        place = index_of(built, hooks.PeriodicCheckpointer, hooks.EvalHook)
        built[place:place] = [refine, *self._build_label_history()]
        if self.base_cache is not None:
            built.insert(0, self._build_base_cache_hook(self.base_cache))
        return built

    def _build_label_history(self) -> list[HookBase]:
        crops = min(self.cfg.SELF_REFINE.HISTORY_CROPS, self.schedule.crops_per_epoch)
        if not crops:
            return []
        mapper = PointPromptDatasetMapper(self.cfg)
        return [
            LabelHistoryHook(
                Path(self.cfg.OUTPUT_DIR) / HISTORY_FOLDER,
                self.schedule,
                self.epochs,
                lambda model: view_training_crops(model, self.schedule, mapper, crops),
            )
        ]

    def _build_base_cache_hook(self, cache: BaseCache) -> HookBase:
        return BaseCacheHook(
            self.schedule.records,
            mapper=self.mapper,
            cache=cache,
            unreadable=self.unreadable,
            window=self.cfg.INPUT.NUCLEI.CROP,
            overlap=self.cfg.INFERENCE.OVERLAP,
        )

    def make_scheduler(self, optimizer: torch.optim.Optimizer) -> LambdaLR:
        """Cosine annealing per epoch."""
        solver = self.cfg.SOLVER
        minimum = solver.MIN_LR / solver.BASE_LR

        def factor(step: int) -> float:
            epoch = self.schedule.epoch_of_step(step)
            return cosine_factor(epoch, t_max=solver.COSINE_T_MAX, minimum=minimum)

        return LambdaLR(optimizer, factor)

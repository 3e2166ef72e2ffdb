"""The trainer: Detectron2's, with crop-based epochs that resume exactly."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any

import torch
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, hooks
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.train_loop import HookBase, TrainerBase
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.utils import comm
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from selfsam_d2.data.base_cache import BaseCache
from selfsam_d2.data.label_store import LabelStore
from selfsam_d2.data.mapper import ImageDatasetMapper, PointPromptDatasetMapper, share_outside
from selfsam_d2.data.schedule import CropSchedule, PositionSampler
from selfsam_d2.engine.base_cache_hook import BaseCacheHook
from selfsam_d2.engine.best_model_hook import BestModelHook
from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer
from selfsam_d2.engine.checks import (
    check_config,
    check_evaluation,
    check_training,
    check_weights,
    load_records,
)
from selfsam_d2.engine.epochs import enter_epoch, epoch_alpha
from selfsam_d2.engine.self_refine_hook import SelfRefineHook
from selfsam_d2.engine.solver import build_optimizer, cosine_factor
from selfsam_d2.evaluation.coco import NucleiCOCOEvaluator
from selfsam_d2.evaluation.nuclei_evaluator import NucleiEvaluator

__all__ = ["SelfSAMTrainer", "build_schedule", "training_steps"]

logger = logging.getLogger(__name__)

BEST_METRIC = "nuclei/AJI"


def build_schedule(cfg: Any) -> CropSchedule:
    """The crops of a training run, from the datasets of a config.

    Raises:
        InputError: a dataset or an image cannot be used.
    """
    return CropSchedule(
        check_training(cfg),
        crop=cfg.INPUT.NUCLEI.CROP,
        seed=max(cfg.SEED, 0),
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
    )


def training_steps(cfg: Any, schedule: CropSchedule) -> tuple[int, int]:
    """(steps, epochs) of a run: SOLVER.MAX_ITER where it is set, else from SOLVER.EPOCHS."""
    per_epoch = schedule.crops_per_epoch / cfg.SOLVER.IMS_PER_BATCH
    if cfg.SOLVER.MAX_ITER > 0:
        last = schedule.epoch_of_step(cfg.SOLVER.MAX_ITER - 1)
        return cfg.SOLVER.MAX_ITER, last + 1
    return round(cfg.SOLVER.EPOCHS * per_epoch), cfg.SOLVER.EPOCHS


class SelfSAMTrainer(DefaultTrainer):
    """Trains SelfSAM from points.

    Differs from DefaultTrainer in the data (crops whose order and augmentation depend on the
    position only, so that a resumed run repeats what a run never stopped would do), in the
    checkpointer, and in :class:`SelfRefineHook`.

    Args:
        cfg: with the keys of :func:`selfsam_d2.config.add_selfsam_config`.
        resume: what :meth:`resume_or_load` will be given; the weights to start from are then
            needed only if there is no checkpoint.
    """

    def __init__(self, cfg: Any, *, resume: bool = False) -> None:
        # DefaultTrainer's own constructor fixes the data loader, the checkpointer and the
        # device_ids of DDP, which must be None on a CPU.
        TrainerBase.__init__(self)
        check_config(cfg)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        self.schedule = build_schedule(cfg)
        check_evaluation(cfg)
        check_weights(cfg, resume=resume)
        self.max_iter, self.epochs = training_steps(cfg, self.schedule)
        self.start_iter = 0
        self.store = None
        if cfg.SELF_REFINE.REFRESH == "epoch":
            self.store = LabelStore(cfg.SELF_REFINE.STORE or Path(cfg.OUTPUT_DIR) / "labels")
        alphas = [epoch_alpha(cfg, epoch, self.epochs) for epoch in range(self.epochs)]
        self.base_cache = None
        if cfg.SELF_REFINE.BASE_CACHE and any(alphas):
            folder = cfg.SELF_REFINE.BASE_STORE or Path(cfg.OUTPUT_DIR) / "base_masks"
            self.base_cache = BaseCache(folder)
        self.mapper = PointPromptDatasetMapper(
            cfg,
            store=self.store,
            base_cache=self.base_cache,
            without_base=frozenset(epoch for epoch, alpha in enumerate(alphas) if alpha == 0),
        )
        self.sampler = PositionSampler(comm.get_rank(), comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = build_optimizer(cfg, model)
        loader = build_detection_train_loader(
            self.schedule,
            mapper=self.mapper,
            sampler=self.sampler,
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            aspect_ratio_grouping=False,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )
        model = _distribute(model)
        trainer = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = trainer(model, loader, optimizer)
        self.scheduler = self._build_scheduler(optimizer)
        self.checkpointer = SelfSAMCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.register_hooks(self.build_hooks())
        self._log_plan()

    def _log_plan(self) -> None:
        logger.info(
            "%d images, %d crops per epoch, %d steps, %d epochs",
            len(self.schedule.records),
            self.schedule.crops_per_epoch,
            self.max_iter,
            self.epochs,
        )
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

    def resume_or_load(self, resume: bool = True) -> None:
        """As DefaultTrainer; the data go on where the checkpoint stopped."""
        super().resume_or_load(resume)
        self.sampler.start = self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH

    def train(self) -> Any:
        """As DefaultTrainer; a new run takes over the folder of an earlier one."""
        if self.start_iter == 0 and comm.is_main_process():
            # Killed before its first checkpoint, it must not be resumed from the earlier run's.
            (Path(self.cfg.OUTPUT_DIR) / "last_checkpoint").unlink(missing_ok=True)
        return super().train()

    def build_hooks(self) -> list[HookBase | None]:
        """DefaultTrainer's hooks, the self-refine hook before the checkpointer, the best model."""
        built = super().build_hooks()
        inference = self.cfg.INFERENCE
        refine = SelfRefineHook(
            self.schedule,
            lambda model, epoch: enter_epoch(model, self.cfg, epoch, self.epochs),
            mapper=self.mapper,
            store=self.store,
            window=self.cfg.INPUT.NUCLEI.CROP,
            overlap=inference.OVERLAP,
        )
        built.insert(_index_of(built, hooks.PeriodicCheckpointer, hooks.EvalHook), refine)
        if self.base_cache is not None:
            built.insert(0, self._build_base_cache_hook(self.base_cache))
        for hook in built:
            if isinstance(hook, hooks.PeriodicCheckpointer):
                hook.max_to_keep = self.cfg.SOLVER.CHECKPOINTS_KEPT or None
        tests = self.cfg.DATASETS.TEST
        if comm.is_main_process() and tests:
            # With several datasets Detectron2 puts the name before the metric.
            metric = BEST_METRIC if len(tests) == 1 else f"{tests[0]}/{BEST_METRIC}"
            best = BestModelHook(self.cfg.TEST.EVAL_PERIOD, self.checkpointer, metric)
            built.insert(_index_of(built, hooks.EvalHook) + 1, best)
        return built

    def _build_base_cache_hook(self, cache: BaseCache) -> HookBase:
        return BaseCacheHook(
            self.schedule.records,
            mapper=self.mapper,
            cache=cache,
            window=self.cfg.INPUT.NUCLEI.CROP,
            overlap=self.cfg.INFERENCE.OVERLAP,
        )

    def _build_scheduler(self, optimizer: torch.optim.Optimizer) -> LambdaLR:
        solver = self.cfg.SOLVER
        minimum = solver.MIN_LR / solver.BASE_LR

        def factor(step: int) -> float:
            epoch = self.schedule.epoch_of_step(step)
            return cosine_factor(epoch, t_max=solver.COSINE_T_MAX, minimum=minimum)

        return LambdaLR(optimizer, factor)

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> torch.utils.data.DataLoader[Any]:
        """Whole images of a registered dataset."""
        del cls
        return build_detection_test_loader(
            load_records([dataset_name]),
            mapper=ImageDatasetMapper(),
            # Several at a time, so that some are post-processed while others are predicted.
            batch_size=1 + cfg.INFERENCE.WORKERS,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )

    @classmethod
    def build_evaluator(
        cls, cfg: Any, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        """Every metric of the paper, and COCO AP with TEST.COCO_AP."""
        del cls
        folder = Path(output_folder or Path(cfg.OUTPUT_DIR) / "inference")
        if len(cfg.DATASETS.TEST) > 1:
            folder /= dataset_name
        evaluators: list[DatasetEvaluator] = [NucleiEvaluator(dataset_name, output_dir=folder)]
        if cfg.TEST.COCO_AP:
            evaluators.append(
                NucleiCOCOEvaluator(
                    dataset_name,
                    output_dir=folder,
                    max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
                )
            )
        return DatasetEvaluators(evaluators)


def _distribute(model: nn.Module) -> nn.Module:
    on_cpu = next(model.parameters()).device.type == "cpu"
    options = {"device_ids": None} if on_cpu else {}
    return create_ddp_model(model, broadcast_buffers=False, **options)


def _index_of(built: list[HookBase | None], *kinds: type[HookBase]) -> int:
    return next(index for index, hook in enumerate(built) if isinstance(hook, kinds))

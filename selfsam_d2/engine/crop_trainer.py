"""What the trainers share: Detectron2's trainer on crop-based epochs that resume exactly."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, hooks
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.train_loop import HookBase, TrainerBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from selfsam_d2.data.mapper import ImageDatasetMapper
from selfsam_d2.data.schedule import CropSchedule, PositionSampler
from selfsam_d2.data.unreadable_images import CountingLoader, SkippingMapper, UnreadableImages
from selfsam_d2.engine.architectures import best_metric
from selfsam_d2.engine.best_model_hook import BestModelHook
from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.data_checks import (
    check_evaluation,
    check_training,
    check_weights,
    load_records,
)
from selfsam_d2.engine.evaluators import make_evaluator
from selfsam_d2.engine.expected_results import verify_results
from selfsam_d2.engine.finite_loss_hook import FiniteLossHook
from selfsam_d2.engine.loss_scale_hook import LossScaleHook
from selfsam_d2.engine.solver import build_optimizer
from selfsam_d2.engine.stop_hook import StopHook
from selfsam_d2.engine.training_errors import in_one_line
from selfsam_d2.errors import InputError
from selfsam_d2.files import drop_unfinished_line

__all__ = ["CropTrainer", "build_schedule", "index_of"]

BATCH = "ims_per_batch"  # in the trainer's state
STEP_DIGITS = 7  # in the names of checkpoints, as Detectron2 writes them


def build_schedule(cfg: Any, *, resume: bool = False) -> CropSchedule:
    """The crops of a training run, from the datasets of a config.

    Args:
        cfg: names the datasets.
        resume: see :func:`selfsam_d2.engine.data_checks.check_training`.

    Raises:
        InputError: a dataset or an image cannot be used.
    """
    return CropSchedule(
        check_training(cfg, resume=resume),
        crop=cfg.INPUT.NUCLEI.CROP,
        seed=max(cfg.SEED, 0),
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        min_crops_per_epoch=cfg.INPUT.NUCLEI.MIN_CROPS_PER_EPOCH,
    )


class CropTrainer(DefaultTrainer):
    """DefaultTrainer with crops, our checkpoints and the best model.

    Differs from DefaultTrainer in the data (crops whose order and augmentation depend on the
    position only, so that a resumed run repeats what a run never stopped would do), in the
    optimizer, in the checkpointer and in :class:`BestModelHook`. A subclass sets ``max_iter``,
    makes the mapper, and calls :meth:`assemble`.

    Args:
        cfg: with the keys of :func:`selfsam_d2.config.add_selfsam_config`.
        resume: what :meth:`resume_or_load` will be given; the weights to start from are then
            needed only if there is no checkpoint, and DATALOADER.MAX_BAD images may be unreadable
            if there is one.

    Raises:
        InputError: a value, a dataset, an image or the weights cannot be used.
    """

    def __init__(self, cfg: Any, *, resume: bool = False) -> None:
        # DefaultTrainer's own constructor fixes the data loader, the checkpointer and the
        # device_ids of DDP, which must be None on a CPU.
        TrainerBase.__init__(self)
        check_config(cfg)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        self.schedule = build_schedule(cfg, resume=resume)
        self.unreadable = UnreadableImages(cfg.DATALOADER.MAX_BAD)
        check_evaluation(cfg)
        check_weights(cfg, resume=resume)
        self.start_iter = 0
        self.sampler = PositionSampler(comm.get_rank(), comm.get_world_size())

    def assemble(self, mapper: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Build model, optimizer, data, checkpointer and hooks.

        Args:
            mapper: dataset dict with ``position`` -> training sample.
        """
        cfg = self.cfg
        model = self.build_model(cfg)
        optimizer = build_optimizer(cfg, model)
        loader = build_detection_train_loader(
            self.schedule,
            mapper=SkippingMapper(mapper, self.schedule),
            sampler=self.sampler,
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            aspect_ratio_grouping=False,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )
        model = _distribute(model)
        self.batches = CountingLoader(loader, self.unreadable)
        if cfg.SOLVER.AMP.ENABLED:
            precision = getattr(torch, cfg.SOLVER.AMP.PRECISION)
            self._trainer = AMPTrainer(model, self.batches, optimizer, precision=precision)
        else:
            self._trainer = SimpleTrainer(model, self.batches, optimizer)
        self.scheduler: LRScheduler = self.make_scheduler(optimizer)
        self.checkpointer = SelfSAMCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.stop_hook = StopHook(self.checkpointer)
        self.register_hooks(self.build_hooks())

    def make_scheduler(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """The learning rate over the steps; here Detectron2's, from the keys of SOLVER."""
        return self.build_lr_scheduler(self.cfg, optimizer)

    def resume_or_load(self, resume: bool = True) -> None:
        """As DefaultTrainer; the data go on where the checkpoint stopped."""
        super().resume_or_load(resume)
        self.sampler.start = self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH
        for hook in self._hooks:
            if isinstance(hook, hooks.PeriodicCheckpointer):
                # Those of the earlier start count for CHECKPOINTS_KEPT.
                hook.recent_checkpoints = self._checkpoints_before(self.start_iter)

    def _checkpoints_before(self, step: int) -> list[str]:
        """Files of a run that is resumed at a step, the oldest first."""
        files = Path(self.cfg.OUTPUT_DIR).glob("model_" + "[0-9]" * STEP_DIGITS + ".pth")
        return [str(file) for file in sorted(files) if int(file.stem.split("_")[1]) < step]

    def state_dict(self) -> dict[str, Any]:
        """As DefaultTrainer, and the batch, in which the place in the crops is counted."""
        return {**super().state_dict(), BATCH: self.cfg.SOLVER.IMS_PER_BATCH}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As DefaultTrainer; half precision may begin or end here.

        Raises:
            InputError: the steps of the checkpoint are of another batch.
        """
        _check_batch(self.cfg, state_dict.get(BATCH))
        steps = state_dict["_trainer"]
        # Full precision leaves none, a scaler that did nothing an empty one.
        if isinstance(self._trainer, AMPTrainer) and not steps.get("grad_scaler"):
            steps = {**steps, "grad_scaler": self._trainer.grad_scaler.state_dict()}
        super().load_state_dict({**state_dict, "_trainer": steps})

    def train(self) -> Any:
        """As DefaultTrainer; a new run takes over the folder of an earlier one."""
        with in_one_line(self.cfg.OUTPUT_DIR):
            if self.start_iter == 0 and comm.is_main_process():
                # Killed before its first checkpoint, it must not be resumed from the earlier run's.
                (Path(self.cfg.OUTPUT_DIR) / "last_checkpoint").unlink(missing_ok=True)
            TrainerBase.train(self, self.start_iter, self.max_iter)
        results = getattr(self, "_last_eval_results", None)
        if comm.is_main_process():
            verify_results(self.cfg, results)
        return results

    def before_train(self) -> None:
        """As DefaultTrainer; signals are answered while base masks and labels are made."""
        self.stop_hook.listen()
        super().before_train()

    def run_step(self) -> None:
        """As DefaultTrainer; where the data workers were asked to stop too, it is left undone."""
        try:
            super().run_step()
        except Exception:
            # Without a batch all processes are here, otherwise perhaps only this one.
            if not (self.batches.ended and any(comm.all_gather(self.stop_hook.asked))):
                raise
            self.stop_hook.leave(self.iter - 1)

    def after_train(self) -> None:
        """As DefaultTrainer; where the last step failed or was asked to stop, none is evaluated."""
        self.storage.iter = self.iter
        for hook in self._hooks:
            if self.iter >= self.max_iter or not isinstance(hook, hooks.EvalHook | BestModelHook):
                hook.after_train()

    def build_writers(self) -> list[EventWriter]:
        """As DefaultTrainer; what an earlier start left of a row of ``metrics.json`` is cut off."""
        drop_unfinished_line(Path(self.cfg.OUTPUT_DIR) / "metrics.json")
        writers: list[EventWriter] = super().build_writers()
        return writers

    def build_hooks(self) -> list[HookBase | None]:
        """DefaultTrainer's hooks, the best model, and what keeps a run from being lost."""
        built = super().build_hooks()
        built.insert(index_of(built, hooks.EvalHook), self.stop_hook)
        built.insert(0, FiniteLossHook(self.cfg.OUTPUT_DIR))
        if isinstance(self._trainer, AMPTrainer):
            # Before the checkpoints, of which none is to be of a model that does not learn.
            built.insert(0, LossScaleHook(self._trainer))
        for hook in built:
            if isinstance(hook, hooks.PeriodicCheckpointer):
                hook.max_to_keep = self.cfg.SOLVER.CHECKPOINTS_KEPT or None
        tests = self.cfg.DATASETS.TEST
        if comm.is_main_process() and tests:
            name = best_metric(self.cfg)
            # With several datasets Detectron2 puts the name before the metric.
            metric = name if len(tests) == 1 else f"{tests[0]}/{name}"
            best = BestModelHook(self.cfg.TEST.EVAL_PERIOD, self.checkpointer, metric)
            built.insert(index_of(built, hooks.EvalHook) + 1, best)
        return built

    @classmethod
    def build_test_mapper(cls, cfg: Any) -> ImageDatasetMapper:
        """Whole images at native scale."""
        del cfg
        return ImageDatasetMapper()

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> torch.utils.data.DataLoader[Any]:
        """Whole images of a registered dataset."""
        return build_detection_test_loader(
            load_records([dataset_name]),
            mapper=cls.build_test_mapper(cfg),
            # Several at a time, so that some are post-processed while others are predicted.
            batch_size=1 + cfg.INFERENCE.WORKERS,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )

    @classmethod
    def build_evaluator(
        cls, cfg: Any, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        """See :func:`selfsam_d2.engine.evaluators.make_evaluator`."""
        del cls
        return make_evaluator(cfg, dataset_name, output_folder)


def _check_batch(cfg: Any, before: int | None) -> None:
    """With another batch than before crops would be left out or seen twice.

    A checkpoint of an earlier version has no batch: None.
    """
    now, reference = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_WORLD_SIZE
    if before is None or before == now:
        return
    remedy = f"set it to {before}"
    if reference:
        remedy = (
            f"go on with as many processes as before, or with SOLVER.IMS_PER_BATCH {before} "
            "SOLVER.REFERENCE_WORLD_SIZE 0"
        )
    raise InputError(
        f"SOLVER.IMS_PER_BATCH {now}",
        f"the training in {cfg.OUTPUT_DIR} was begun with {before}, in which its steps are "
        f"counted; {remedy}, or begin anew in another OUTPUT_DIR",
    )


def index_of(built: list[HookBase | None], *kinds: type[HookBase]) -> int:
    """Position of the first hook of one of these kinds."""
    return next(index for index, hook in enumerate(built) if isinstance(hook, kinds))


def _distribute(model: nn.Module) -> nn.Module:
    on_cpu = next(model.parameters()).device.type == "cpu"
    options = {"device_ids": None} if on_cpu else {}
    return create_ddp_model(model, broadcast_buffers=False, **options)

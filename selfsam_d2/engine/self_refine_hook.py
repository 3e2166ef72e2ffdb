"""The hook that drives self-refinement: what each epoch changes, label refresh, what is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from selfsam_d2.data.label_store import LabelStore
from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.data.unreadable_images import UnreadableImages
from selfsam_d2.errors import UnreadableImageError
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.window_labels import label_image
from selfsam_d2.pseudo_labels.statistics import mean_statistics

__all__ = ["SelfRefineHook", "unwrap"]

logger = logging.getLogger(__name__)


def unwrap(model: nn.Module) -> SelfSAM:
    """The model behind DistributedDataParallel, or the model itself."""
    unwrapped = model.module if isinstance(model, DistributedDataParallel) else model
    assert isinstance(unwrapped, SelfSAM)
    return unwrapped


class SelfRefineHook(HookBase):
    """What refines the labels from epoch to epoch: the blend, its prompts, the consensus filter.

    Before each step it sets the model's alpha and who has a say in the labels of that epoch. With a
    label store it also recomputes S_P and S_I of all training images (shared out to the ranks)
    before the first step of each epoch; an image that cannot be read then is left out of that
    epoch, see DATALOADER.MAX_BAD. After each step it logs alpha and the shares of ignored and
    recovered pixels and of empty prompts.

    Belongs before ``PeriodicCheckpointer``, on all ranks.

    Args:
        schedule: of the crops; says which epoch a step belongs to.
        enter_epoch: sets alpha, consensus and reprompts of a model for an epoch.
        store: where refreshed labels go; None: labels are made in every step.
        mapper: knows the shifted points of an image.
        unreadable: counts the images that a refresh leaves out.
        window: side of a labelling window, px.
        overlap: px shared by neighbouring windows.
    """

    def __init__(
        self,
        schedule: CropSchedule,
        enter_epoch: Callable[[SelfSAM, int], None],
        *,
        mapper: PointPromptDatasetMapper,
        unreadable: UnreadableImages,
        store: LabelStore | None = None,
        window: int = 224,
        overlap: int = 80,
    ) -> None:
        self.schedule = schedule
        self.enter_epoch = enter_epoch
        self.mapper = mapper
        self.unreadable = unreadable
        self.store = store
        self.window = window
        self.overlap = overlap
        self._epoch = -1
        self._saved_epoch = 0
        self._statistics: dict[str, float] = {}
        self._resumed = False

    def state_dict(self) -> dict[str, Any]:
        """Epoch and what its refresh found; the labels themselves stay in the store."""
        self._saved_epoch = max(self._epoch, 0)
        return {"epoch": self._epoch, "statistics": dict(self._statistics)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._epoch = state["epoch"]
        self._saved_epoch = max(self._epoch, 0)
        self._statistics = dict(state["statistics"])
        self._resumed = True

    def before_train(self) -> None:
        if self.store is None:
            return
        if not self._resumed:
            # Labels of an earlier run in the same folder are of no use to this one.
            self._on_main(lambda store: store.discard(above=-1))
        elif self.store.is_complete(self._epoch):
            self._on_main(lambda store: store.discard(above=self._epoch))
        else:
            logger.warning("The stored labels of epoch %d are gone: made again.", self._epoch)
            self.enter_epoch(unwrap(self.trainer.model), self._epoch)
            self._refresh(self._epoch)

    def before_step(self) -> None:
        step = self.trainer.iter
        epoch = self.schedule.epoch_of_step(step)
        model = unwrap(self.trainer.model)
        model.step = step
        self.enter_epoch(model, epoch)
        if epoch != self._epoch:
            if self.store is not None:
                self._refresh(epoch)
            # Behind it: what is saved during a refresh makes it again.
            self._epoch = epoch

    def after_step(self) -> None:
        model = unwrap(self.trainer.model)
        statistics = {**model.label_statistics, **self._statistics}
        self.trainer.storage.put_scalars(
            alpha=model.alpha,
            **{f"labels/{name}": value for name, value in statistics.items()},
        )

    def _refresh(self, epoch: int) -> None:
        assert self.store is not None
        model = unwrap(self.trainer.model)
        records = self.schedule.records[comm.get_rank() :: comm.get_world_size()]
        # The store is cleared first: a reader must not take an unfinished refresh for a whole one.
        self._on_main(
            lambda store: store.discard(below=min(self._saved_epoch, epoch - 1), above=epoch - 1)
        )
        was_training = model.training
        model.eval()
        found: list[dict[str, float]] = []
        problems: dict[str, str] = {}
        for record, image in self.unreadable.read(records, problems):
            labels, statistics = label_image(
                model,
                torch.from_numpy(image.transpose(2, 0, 1).copy()),
                torch.from_numpy(self.mapper.points(record)),
                image_id=record["image_id"],
                window=self.window,
                overlap=self.overlap,
            )
            self.store.write(record, epoch, labels)
            found.append(statistics)
        model.train(was_training)
        problems = self.unreadable.gather(problems)
        if len(problems) == len(self.schedule.records):
            raise UnreadableImageError("; ".join(problems.values()))
        self._on_main(lambda store: store.finish(epoch, problems))
        gathered = [each for rank in comm.all_gather(found) for each in rank]
        self._statistics = mean_statistics(gathered)
        logger.info(
            "Refreshed the labels of %d images for epoch %d (alpha %.3f): %s",
            len(gathered),
            epoch,
            model.alpha,
            ", ".join(f"{name} {value:.1%}" for name, value in self._statistics.items()),
        )

    def _on_main(self, action: Callable[[LabelStore], None]) -> None:
        if self.store is not None and comm.is_main_process():
            action(self.store)
        comm.synchronize()

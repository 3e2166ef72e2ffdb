"""Crop-based epochs as a pure function of (seed, position): a run can start anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

__all__ = ["CropSchedule", "PositionSampler", "crops_per_image"]


def crops_per_image(height: int, width: int, crop: int) -> int:
    """How many crops show every pixel of an image about once: round(H W / crop^2), at least 1."""
    return max(1, round(height * width / crop**2))


class CropSchedule(Dataset[dict[str, Any]]):
    """The training crops in their order, each epoch shuffled anew.

    Item ``position`` is crop ``position`` of the whole run: the record of its image with
    ``position`` and ``epoch`` added. It depends on the seed and the position only, so that a
    resumed run sees what the run that was never stopped would have seen.

    Args:
        records: Detectron2 dataset dicts with ``height`` and ``width``.
        crop: side of a crop, px.
        seed: of the order.
        batch_size: crops per step over all processes. A step belongs to one epoch, that of its
            first crop, which is what ``epoch`` of a record says.
        min_crops_per_epoch: of fewer crops each is shown equally often until there are as many,
            so that few images are trained for as many steps as many.
    """

    def __init__(
        self,
        records: list[dict[str, Any]],
        crop: int,
        seed: int,
        batch_size: int = 1,
        min_crops_per_epoch: int = 0,
    ) -> None:
        self.records = records
        self.seed = seed
        self.batch_size = batch_size
        repeats = [crops_per_image(each["height"], each["width"], crop) for each in records]
        times = max(1, math.ceil(min_crops_per_epoch / sum(repeats)))
        self._indices = np.repeat(np.arange(len(records)), times * np.array(repeats))

    @property
    def crops_per_epoch(self) -> int:
        return len(self._indices)

    def __len__(self) -> int:
        return self.crops_per_epoch

    def __getitem__(self, position: int) -> dict[str, Any]:
        epoch, index = divmod(position, self.crops_per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self._indices)
        return {
            **self.records[order[index]],
            "position": position,
            "epoch": self.epoch_of_step(position // self.batch_size),
        }

    def epoch_of_step(self, step: int) -> int:
        """The epoch that a training step belongs to."""
        return step * self.batch_size // self.crops_per_epoch


class PositionSampler(Sampler[int]):
    """Endless positions of a run from ``start`` on, shared out to the ranks in turn.

    Args:
        rank: of this process.
        world_size: number of processes.

    Attributes:
        start: first position; set before the data loader starts, e.g. by a resumed run.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.start = 0
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[int]:
        position = self.start + self.rank
        while True:
            yield position
            position += self.world_size

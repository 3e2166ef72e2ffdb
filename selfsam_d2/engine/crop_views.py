"""Look at training crops with a model as it is in some epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.visualization.crop_view import CropView, view_crop

__all__ = ["saved_epoch", "view_training_crops"]


def saved_epoch(checkpoint: dict[str, Any]) -> int | None:
    """The epoch of a checkpoint, or None for a file of bare weights.

    Args:
        checkpoint: of :func:`selfsam_d2.weights.resolve.read_checkpoint`.
    """
    hooks = checkpoint.get("trainer", {}).get("hooks", {})
    epoch = hooks.get("SelfRefineHook", {}).get("epoch")
    return None if epoch is None else max(int(epoch), 0)


def view_training_crops(
    model: SelfSAM, schedule: CropSchedule, mapper: PointPromptDatasetMapper, count: int
) -> list[CropView]:
    """What the model makes of the first crops of a training, augmented as in training.

    Args:
        model: with its ``alpha`` and ``consensus`` set.
        schedule: of the training.
        mapper: of the training.
        count: number of crops.
    """
    records = [schedule[position] for position in range(count)]
    return [
        view_crop(model, mapper(record), name=Path(record["file_name"]).stem) for record in records
    ]

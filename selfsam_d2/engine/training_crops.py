"""Look at training crops with a model, during a training or after it."""

from __future__ import annotations

from pathlib import Path

from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.visualization.crop_view import CropView, view_crop

__all__ = ["view_training_crops"]


def view_training_crops(
    model: SelfSAM, schedule: CropSchedule, mapper: PointPromptDatasetMapper, count: int
) -> list[CropView]:
    """What the model makes of the first crops of a training, augmented as in training.

    Args:
        model: with its ``alpha``, ``consensus`` and ``reprompts`` set.
        schedule: of the training.
        mapper: of the training.
        count: number of crops.
    """
    records = [schedule[position] for position in range(count)]
    return [
        view_crop(model, mapper(record), name=Path(record["file_name"]).stem) for record in records
    ]

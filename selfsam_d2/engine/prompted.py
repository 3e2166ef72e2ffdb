"""What the masks that SAM draws for given points are worth: no decoder of ours, no training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfsam_d2.data.images import read_image
from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.window_labels import label_image

__all__ = ["segment_with_points"]


def segment_with_points(
    model: SelfSAM,
    records: list[dict[str, Any]],
    mapper: PointPromptDatasetMapper,
    *,
    window: int,
    overlap: int,
) -> Iterator[tuple[dict[str, Any], NDArray[np.int32]]]:
    """Instance maps from the points of a dataset: the raw ids R, before anything is ignored.

    Args:
        model: with its ``alpha`` and ``reprompts`` set; 1 and false: the base masks alone.
        records: dataset dicts with points.
        mapper: knows the points, shifted if the config says so.
        window: side of a window, px.
        overlap: px shared by neighbouring windows.

    Yields:
        each record and its map (H, W): 0, point index + 1.
    """
    model.eval()
    for record in records:
        image = torch.from_numpy(np.ascontiguousarray(read_image(record["file_name"])))
        labels, _ = label_image(
            model,
            image.permute(2, 0, 1),
            torch.from_numpy(mapper.points(record)),
            image_id=record["image_id"],
            window=window,
            overlap=overlap,
        )
        yield record, labels["raw_ids"]

"""Weights of other networks, such as those trained on ImageNet, by the ends of their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from torch import Tensor

from selfsam_d2.errors import InputError

__all__ = ["AUTHOR", "BY_NAME", "match_names"]

# Keys of a checkpoint, which are Detectron2's.
BY_NAME = "matching_heuristics"
AUTHOR = "__author__"


def match_names(
    model_state: Mapping[str, Tensor], checkpoint: Mapping[str, Any], source: str | Path
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Find the keys of a model that weights of another network are for, as Detectron2 does.

    ``res2.0.conv1.weight`` is for ``backbone.bottom_up.res2.0.conv1.weight``; the longest end
    counts, names of Caffe2 are translated, and a tensor of another shape is left out.

    Args:
        model_state: state dict of the model; only keys and shapes are used.
        checkpoint: ``model``, and :data:`AUTHOR`, which is ``Caffe2`` for its names.
        source: names it in messages.

    Returns:
        Key of the model → tensor; and the keys of the file, or what they were translated to, that
        are for nothing in the model.

    Raises:
        InputError: nothing fits, or one tensor fits in two places.
    """
    try:
        matched = align_and_update_state_dicts(
            dict(model_state),
            dict(checkpoint["model"]),
            c2_conversion=checkpoint.get(AUTHOR) == "Caffe2",
        )
    except (AssertionError, IndexError, KeyError, ValueError) as error:
        raise InputError(
            source,
            f"its names cannot be matched with those of the model ({error}); give weights "
            "whose keys are those of the model",
        ) from error
    filled = {
        key: value
        for key, value in matched.items()
        if key in model_state and value.shape == model_state[key].shape
    }
    if not filled:
        raise InputError(
            source,
            "none of its tensors fits the model in name and shape; give weights of the "
            "network that MODEL.BACKBONE names",
        )
    return filled, tuple(key for key in matched if key not in filled)

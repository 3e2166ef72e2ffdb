"""Weights of other networks, such as those trained on ImageNet, by the ends of their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from torch import Tensor

from selfsam_d2.errors import InputError, first_words, shortened

__all__ = ["AUTHOR", "BY_NAME", "match_names", "require_whole"]

MOST_TENSORS = 20_000  # each is compared with each of the model
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
        InputError: nothing fits, one tensor fits in two places, or the file has more tensors, or
            larger ones, than any network that is known.
    """
    state = dict(checkpoint["model"])
    _refuse_larger_than_written(state, source)
    try:
        matched = align_and_update_state_dicts(
            dict(model_state),
            state,
            c2_conversion=checkpoint.get(AUTHOR) == "Caffe2",
        )
    except (AssertionError, IndexError, KeyError, RuntimeError, ValueError) as error:
        raise InputError(
            source,
            f"its names cannot be matched with those of the model ({first_words(error)}); give "
            "weights whose keys are those of the model",
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


def require_whole(checkpoint: Mapping[str, Any], source: str | Path) -> None:
    """Refuse weights of another network where a whole model is needed, as for a prediction.

    Args:
        checkpoint: what was read; only :data:`BY_NAME` is looked at.
        source: names it in messages.

    Raises:
        InputError: they fill a part only.
    """
    if checkpoint.get(BY_NAME) is True:
        raise InputError(
            source, "are of another network, for a training to begin with; give a checkpoint"
        )


def _refuse_larger_than_written(state: Mapping[str, Tensor], source: str | Path) -> None:
    # Those of Caffe2 are joined, and so copied, before anything asks for their shapes.
    if len(state) > MOST_TENSORS:
        raise InputError(source, f"holds more than {MOST_TENSORS} tensors; give one network's")
    for key, value in state.items():
        if value.nbytes > value.untyped_storage().nbytes():
            raise InputError(
                source,
                f"the tensor {shortened(repr(key))} is larger than what was written of it; "
                "save a contiguous one",
            )

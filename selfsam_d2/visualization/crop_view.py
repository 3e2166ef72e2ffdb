"""What the model makes of one training crop: masks, labels, ignored pixels, prediction.

Shape legend:
    c: side of the crop, px
    K: points inside the crop
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfsam_d2.modeling.crop_labels import label_crop
from selfsam_d2.modeling.postprocess import separate_nuclei
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.structures.labels import IGNORE

__all__ = ["CropView", "view_crop"]


@dataclass(frozen=True)
class CropView:
    """One training crop.

    Attributes:
        name: of the image that the crop is from.
        alpha: of the blend.
        image: (c, c, 3) uint8 RGB.
        points: (K, 2) xy, px.
        base: (c, c) max over the nuclei of m_base, in [0, 1]; 0 where K = 0.
        adapted: (c, c) the same of m_adapt.
        prompt_label: (c, c) S_P: 0, 1 ... K, -1 ignored.
        instance_label: (c, c) S_I.
        outside: (c, c) bool, beyond the image: mirrored pixels, always ignored.
        foreground: (c, c) B in [0, 1].
        instance_map: (c, c) int32, the prediction after post-processing; no nucleus where the
            prediction is not finite, which a training says of its loss.
    """

    name: str
    alpha: float
    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    base: NDArray[np.float32]
    adapted: NDArray[np.float32]
    prompt_label: NDArray[np.int64]
    instance_label: NDArray[np.int64]
    outside: NDArray[np.bool_]
    foreground: NDArray[np.float32]
    instance_map: NDArray[np.int32]


def view_crop(model: SelfSAM, sample: dict[str, Any], name: str) -> CropView:
    """Run the model on one training crop as a training step does, and keep what it makes.

    Args:
        model: with its ``alpha``, ``consensus`` and ``reprompts`` set; left in the mode it is in.
        sample: what :class:`~selfsam_d2.data.mapper.PointPromptDatasetMapper` returns.
        name: of the image.
    """
    labels = label_crop(model, sample)
    assert labels.base is not None
    assert labels.adapted is not None
    size = (sample["image"].shape[1], sample["image"].shape[2])
    outside = sample["outside"].to(model.device)
    prediction = labels.prediction.cpu().numpy()
    return CropView(
        name=name,
        alpha=model.alpha,
        image=np.ascontiguousarray(sample["image"].permute(1, 2, 0).numpy()),
        points=sample["points"].numpy(),
        base=_max_over_nuclei(labels.base, size),
        adapted=_max_over_nuclei(labels.adapted, size),
        prompt_label=labels.prompt.labels.masked_fill(outside, IGNORE).cpu().numpy(),
        instance_label=labels.instance.labels.masked_fill(outside, IGNORE).cpu().numpy(),
        outside=sample["outside"].numpy(),
        foreground=prediction[0],
        instance_map=_instances(prediction, model),
    )


def _instances(prediction: NDArray[np.float32], model: SelfSAM) -> NDArray[np.int32]:
    if not np.isfinite(prediction).all():
        return np.zeros(prediction.shape[1:], dtype=np.int32)
    return separate_nuclei(prediction[0], prediction[1:], model.inference_settings.postprocess)


def _max_over_nuclei(masks: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    if not len(masks):
        return np.zeros(size, dtype=np.float32)
    highest: NDArray[np.float32] = masks.amax(dim=0).cpu().numpy()
    return highest

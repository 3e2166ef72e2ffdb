"""What the model makes of one training crop: masks, labels, ignored pixels, prediction.

Shape legend:
    c: side of the crop, px
    K: points inside the crop
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsam_d2.modeling.backbone import EMBEDDING
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
        instance_map: (c, c) int32, the prediction after post-processing.
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


@torch.no_grad()
def view_crop(model: SelfSAM, sample: dict[str, Any], name: str) -> CropView:
    """Run the model on one training crop as a training step does, and keep what it makes.

    Args:
        model: with its ``alpha`` and ``consensus`` set; left in the mode it is in.
        sample: what :class:`~selfsam_d2.data.mapper.PointPromptDatasetMapper` returns.
        name: of the image.
    """
    was_training = model.training
    model.eval()
    image = sample["image"].to(model.device)
    size = (image.shape[1], image.shape[2])
    base, adapted = model.backbone.forward_both(model.preprocess(image[None]))
    tokens = model.encode_prompts(sample)
    base_masks = model.prompt_logits(base[EMBEDDING], tokens, size).sigmoid()
    logits = model.prompt_logits(adapted[EMBEDDING], tokens, size)
    targets = model.make_targets(sample, base[EMBEDDING], logits, tokens)
    maps = model.predict_windows(image[None])[0]
    prompt_label = model.label_maker.prompt_label(targets)
    instance_label = model.make_instance_label(prompt_label, maps[0])
    model.train(was_training)
    outside = sample["outside"].to(model.device)
    prediction = maps.cpu().numpy()
    return CropView(
        name=name,
        alpha=model.alpha,
        image=np.ascontiguousarray(sample["image"].permute(1, 2, 0).numpy()),
        points=sample["points"].numpy(),
        base=_max_over_nuclei(base_masks, size),
        adapted=_max_over_nuclei(logits.sigmoid(), size),
        prompt_label=prompt_label.labels.masked_fill(outside, IGNORE).cpu().numpy(),
        instance_label=instance_label.labels.masked_fill(outside, IGNORE).cpu().numpy(),
        outside=sample["outside"].numpy(),
        foreground=prediction[0],
        instance_map=separate_nuclei(
            prediction[0], prediction[1:], model.inference_settings.postprocess
        ),
    )


def _max_over_nuclei(masks: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    if not len(masks):
        return np.zeros(size, dtype=np.float32)
    highest: NDArray[np.float32] = masks.amax(dim=0).cpu().numpy()
    return highest

"""All that a model makes of one crop: masks, labels, prediction; as in a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfsam_d2.modeling.backbone import EMBEDDING
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.pseudo_labels.instance_label import InstanceLabel
from selfsam_d2.pseudo_labels.prompt_label import PromptLabel

__all__ = ["CropLabels", "label_crop"]


@dataclass(frozen=True)
class CropLabels:
    """Shapes: c: side of the crop, K: points inside it.

    Attributes:
        base: (K, c, c) m_base in [0, 1]; None where it was not asked for and has no weight.
        adapted: (K, c, c) m_adapt in [0, 1]; None likewise.
        prompt: S_P.
        instance: S_I.
        prediction: (3, c, c): B in [0, 1], then the HV map in x and y.
    """

    base: Tensor | None
    adapted: Tensor | None
    prompt: PromptLabel
    instance: InstanceLabel
    prediction: Tensor


@torch.no_grad()
def label_crop(model: SelfSAM, sample: dict[str, Any], *, all_masks: bool = True) -> CropLabels:
    """Label one crop with the model as it is.

    Args:
        model: with its ``alpha``, ``consensus`` and ``reprompts`` set; left in the mode it is in.
        sample: ``image`` (3, c, c), ``points``, ``context_points``, ``image_id`` as in training.
        all_masks: also those that have no weight in the labels: m_base where alpha is 0, m_adapt
            where it is 1.
    """
    was_training = model.training
    model.eval()
    image = sample["image"].to(model.device)
    size = (image.shape[1], image.shape[2])
    prepared = model.preprocess(image[None])
    tokens = model.encode_prompts(sample)
    base, base_masks, adapted_masks = None, None, None
    if all_masks or model.alpha > 0:
        base, adapted = model.backbone.forward_both(prepared)
    else:
        adapted = model.backbone(prepared)
    blends = model.alpha < 1 and model.label_maker.uses_adapted
    if all_masks or blends or model.reprompts:
        adapted_masks = model.prompt_logits(adapted[EMBEDDING], tokens, size).sigmoid()
    prediction = model.predict_embedding(adapted[EMBEDDING], size)[0]
    if base is not None:
        if model.reprompts and adapted_masks is not None:
            tokens = model.encode_prompts(sample, (adapted_masks, prediction[0]))
        base_masks = model.prompt_logits(base[EMBEDDING], tokens, size).sigmoid()
    prompt = model.make_prompt_label(sample, base_masks, adapted_masks)
    model.train(was_training)
    return CropLabels(
        base=base_masks,
        adapted=adapted_masks,
        prompt=prompt,
        instance=model.make_instance_label(prompt, prediction[0]),
        prediction=prediction,
    )

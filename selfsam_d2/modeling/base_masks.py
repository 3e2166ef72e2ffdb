"""m_base of a whole image, window by window, and what it depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsam_d2.modeling.backbone import EMBEDDING
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.sliding_window import mirror_to_window, window_grid

__all__ = ["base_fingerprint", "predict_base_masks"]


@torch.no_grad()
def predict_base_masks(
    model: SelfSAM,
    image: Tensor,
    points: Tensor,
    *,
    image_id: int | str,
    window: int,
    overlap: int,
) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
    """m_base as a training step makes it for the crop that equals each window.

    Args:
        model: its adapters, heads and alpha do not matter.
        image: (3, H, W) uint8 RGB; one smaller than the window is mirrored beyond its borders.
        points: (N, 2) xy, px of the image, in the precision of the mapper.
        image_id: for the choice of random negatives.
        window: w, side of a window, px.
        overlap: px shared by neighbouring windows.

    Yields:
        corner (y, x) of a window in px of the image, indices of the K points inside it, and
        their masks (K, w, w) float32. Windows without a point are left out.
    """
    padded, (top, left) = mirror_to_window(image, window)
    for y, x in window_grid(padded.shape[1], padded.shape[2], window, overlap):
        corner = (y - top, x - left)
        # In double precision, in which the mapper too decides what lies inside.
        context = points.double() - torch.tensor([corner[1], corner[0]])
        inside = ((context >= 0) & (context < window)).all(dim=1)
        context = context.float()
        if not inside.any():
            continue
        sample: dict[str, Any] = {
            "image": padded[:, y : y + window, x : x + window],
            "points": context[inside],
            "context_points": context,
            "image_id": image_id,
        }
        images = model.preprocess(sample["image"][None].to(model.device))
        embedding = model.backbone.forward_base(images)[EMBEDDING]
        logits = model.prompt_logits(embedding, model.encode_prompts(sample), (window, window))
        masks = logits.sigmoid()
        yield corner, inside.nonzero()[:, 0].cpu().numpy(), masks.cpu().numpy()


def base_fingerprint(model: SelfSAM) -> str:
    """SHA-256 of everything in the model that m_base depends on: weights and prompts."""
    digest = hashlib.sha256()
    prompter = model.prompter
    random = prompter.num_negatives > 0 and prompter.negative_choice == "random"
    settings = (
        *(model.input_side, model.seed if random else None),
        *(prompter.num_negatives, prompter.negative_choice),
        *(prompter.spacing_box, prompter.spacing_scale, prompter.default_radius),
        *(prompter.mask_token, model.pixel_mean.tolist(), model.pixel_std.tolist()),
    )
    digest.update(repr(settings).encode())
    for part in (model.backbone.encoder, prompter):
        for name, value in part.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

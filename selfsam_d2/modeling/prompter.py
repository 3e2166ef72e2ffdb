"""From points to one mask per nucleus, with SAM's frozen prompt encoder and mask decoder.

Shapes:
    K: points inside the crop, N: points of the whole transformed image, S: encoder input side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from detectron2.config import configurable
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor, nn

from selfsam_d2.modeling.sam_decoder import build_mask_decoder, build_prompt_encoder
from selfsam_d2.modeling.shared_decoder import decode_masks
from selfsam_d2.pseudo_labels.refined_boxes import refined_boxes
from selfsam_d2.structures.points import nearest_others, spacing_boxes

__all__ = ["Prompter"]

NEGATIVE_CHOICES = ("nearest", "random")
# SAM's prompt encoder adds half a pixel of its own; our coordinates already name positions.
SAM_HALF_PIXEL = 0.5
MEGABYTE = 2**20


class Prompter(nn.Module):
    """SAM's prompt encoder and mask decoder, with the prompts made from points.

    Frozen for good; gradients flow through it into the image embedding.

    Args:
        prompt_encoder: SAM's, for an encoder input of S px.
        mask_decoder: SAM's.
        num_negatives: other points given as negative prompts, 0 to 4.
        negative_choice: ``nearest`` or ``random`` among all N points.
        spacing_box: add a box prompt, see :func:`selfsam_d2.structures.points.spacing_boxes`.
        spacing_scale: c of the box.
        default_radius: px, half side of the box of a point that is alone.
        mask_token: 0: SAM's single-mask token, 1 to 3: its multi-mask tokens.
        decoder_memory: MB that the masks of all crops of a batch may hold for the backward pass;
            those beyond are computed again there.
    """

    @configurable
    def __init__(
        self,
        *,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        num_negatives: int = 0,
        negative_choice: str = "nearest",
        spacing_box: bool = False,
        spacing_scale: float = 0.55,
        default_radius: float = 12.0,
        mask_token: int = 0,
        decoder_memory: float = math.inf,
    ) -> None:
        super().__init__()
        if negative_choice not in NEGATIVE_CHOICES:
            raise ValueError(
                f"Expected argument `negative_choice` to be one of {NEGATIVE_CHOICES}, "
                f"but got {negative_choice!r}."
            )
        self.prompt_encoder = prompt_encoder.requires_grad_(False)
        self.mask_decoder = mask_decoder.requires_grad_(False)
        self.num_negatives = num_negatives
        self.negative_choice = negative_choice
        self.spacing_box = spacing_box
        self.spacing_scale = spacing_scale
        self.default_radius = default_radius
        self.mask_token = mask_token
        self.decoder_memory = decoder_memory

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        return {
            "prompt_encoder": build_prompt_encoder(cfg.MODEL.SAM.INPUT_SIDE),
            "mask_decoder": build_mask_decoder(),
            "num_negatives": cfg.PROMPT.NUM_NEGATIVES,
            "negative_choice": cfg.PROMPT.NEGATIVE_CHOICE,
            "spacing_box": cfg.PROMPT.SPACING_BOX,
            "spacing_scale": cfg.PROMPT.SPACING_SCALE,
            "default_radius": cfg.PROMPT.DEFAULT_RADIUS,
            "mask_token": cfg.PROMPT.MASK_TOKEN,
            "decoder_memory": cfg.PROMPT.DECODER_MEMORY,
        }

    def encode(
        self,
        points: Tensor,
        context: Tensor,
        crop: int,
        seed: list[int],
        seen: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Prompt tokens of each point.

        Args:
            points: (K, 2) xy, px of the crop.
            context: (N, 2) xy, px of the crop, all points of the transformed image, those of
                ``points`` among them.
            crop: side of the crop, px.
            seed: of the choice of random negatives.
            seen: m_adapt (K, c, c) and B (c, c) in [0, 1]: prompt with their boxes, see
                :func:`selfsam_d2.pseudo_labels.refined_boxes.refined_boxes`, where a nucleus is
                hardly seen with that of its spacing.

        Returns:
            (K, tokens, 256).
        """
        scale = self.prompt_encoder.input_image_size[0] / crop
        negatives = self._negatives(points, context, seed)
        coordinates = torch.cat([points[:, None], negatives], dim=1) * scale - SAM_HALF_PIXEL
        labels = torch.zeros(coordinates.shape[:2], device=points.device)
        labels[:, 0] = 1
        boxes = None
        if self.spacing_box or seen is not None:
            boxes = spacing_boxes(
                points, context, scale=self.spacing_scale, default_radius=self.default_radius
            )
            if seen is not None:
                boxes = refined_boxes(points, context, *seen, boxes)
            boxes = boxes * scale - SAM_HALF_PIXEL
        tokens, _ = self.prompt_encoder(points=(coordinates, labels), boxes=boxes, masks=None)
        return tokens

    def forward(self, embedding: Tensor, tokens: Tensor, share: float = 1.0) -> Tensor:
        """Low-res mask logits of each point.

        Args:
            embedding: (1, 256, S/16, S/16) image embedding of one crop.
            tokens: (K, tokens, 256) of :meth:`encode`.
            share: of the memory that this crop may take, by its share of the batch's points.

        Returns:
            (K, S/4, S/4).
        """
        height, width = embedding.shape[-2:]
        if not len(tokens):
            return embedding.new_zeros((0, 4 * height, 4 * width)) + embedding.sum() * 0
        dense = self.prompt_encoder.no_mask_embed.weight.reshape(-1, 1, 1)
        return decode_masks(
            self.mask_decoder,
            embedding[0] + dense,
            self.prompt_encoder.get_dense_pe()[0],
            tokens,
            self.mask_token,
            share * self.decoder_memory * MEGABYTE,
        )

    def _negatives(self, points: Tensor, context: Tensor, seed: list[int]) -> Tensor:
        count = min(self.num_negatives, len(context) - 1)
        if count <= 0 or not len(points):
            return points.new_zeros((len(points), max(count, 0), 2))
        if self.negative_choice == "nearest":
            return context[nearest_others(points, context, count).to(context.device)]
        rng = np.random.default_rng(seed)
        own = _own_indices(points, context)
        chosen = np.stack([_draw_others(rng, len(context), index, count) for index in own])
        return context[torch.from_numpy(chosen).to(context.device)]


def _own_indices(points: Tensor, context: Tensor) -> list[int]:
    """Index of each point in ``context``."""
    return torch.cdist(points.double(), context.double()).argmin(dim=1).tolist()


def _draw_others(rng: np.random.Generator, total: int, own: int, count: int) -> np.ndarray:
    drawn = rng.choice(total - 1, size=count, replace=False)
    return drawn + (drawn >= own)

"""Phi_nuclei: the prompt-free nuclei decoder, and g_omega with the prototype z+.

Shapes:
    B: images, S: encoder input side, d: size of the contrast feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.sam_decoder import EMBED_DIM, STRIDE, build_two_way_transformer

__all__ = ["NUCLEI_HEAD_REGISTRY", "ContrastHead", "SAMNucleiHead", "build_nuclei_head"]

NUCLEI_HEAD_REGISTRY = Registry("NUCLEI_HEAD")
NUCLEI_HEAD_REGISTRY.__doc__ = """
Registry for prompt-free nuclei heads, built with (cfg, output shape of the backbone): the maps of
the backbone by name, or its map (B, C, h, w) where it has one -> (B, 3, H, W), of which channel 0
is the foreground logit and channels 1, 2 are the HV map in x and y.
"""

NUM_MAPS = 3  # foreground logit, HV map in x and y
UPSCALED = EMBED_DIM // 8


def build_nuclei_head(cfg: Any, input_shape: Mapping[str, ShapeSpec]) -> nn.Module:
    """The head named by ``cfg.MODEL.NUCLEI_HEAD.NAME`` for the maps of a backbone."""
    return NUCLEI_HEAD_REGISTRY.get(cfg.MODEL.NUCLEI_HEAD.NAME)(cfg, input_shape)


@NUCLEI_HEAD_REGISTRY.register()
class SAMNucleiHead(nn.Module):
    """SAM's mask-decoder design with three output tokens and no prompt.

    Two-way transformer of depth 2, 4x up-scaling, hypernetwork MLPs. Empty sparse prompt; the
    dense prompt is SAM's no-mask embedding, which is not trained.
    """

    no_mask_embed: Tensor

    @configurable
    def __init__(self) -> None:
        super().__init__()
        self.transformer = build_two_way_transformer()
        self.output_tokens = nn.Embedding(NUM_MAPS, EMBED_DIM)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(EMBED_DIM, EMBED_DIM // 4, kernel_size=2, stride=2),
            LayerNorm2d(EMBED_DIM // 4),
            nn.GELU(),
            nn.ConvTranspose2d(EMBED_DIM // 4, UPSCALED, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(EMBED_DIM, EMBED_DIM, UPSCALED, 3) for _ in range(NUM_MAPS)
        )
        self.pe_layer = PositionEmbeddingRandom(EMBED_DIM // 2)
        self.register_buffer("no_mask_embed", torch.zeros(1, EMBED_DIM))

    @classmethod
    def from_config(cls, cfg: Any, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        shapes = [(shape.channels, shape.stride) for shape in input_shape.values()]
        if shapes != [(EMBED_DIM, STRIDE)]:
            raise InputError(
                f"MODEL.NUCLEI_HEAD.NAME {cls.__name__!r}",
                f"reads one map of {EMBED_DIM} channels and stride {STRIDE}, but "
                f"{cfg.MODEL.BACKBONE.NAME} gives {', '.join(input_shape)}; use ConvNucleiHead",
            )
        return {}

    def forward(self, embedding: Tensor) -> Tensor:
        """Foreground logits and HV map.

        Args:
            embedding: (B, 256, S/16, S/16).

        Returns:
            (B, 3, S/4, S/4): foreground logit, then the linear HV map in x and y.
        """
        batch, channels, height, width = embedding.shape
        position = self.pe_layer((height, width))[None].expand(batch, -1, -1, -1)
        tokens = self.output_tokens.weight[None].expand(batch, -1, -1)
        source = embedding + self.no_mask_embed[..., None, None]
        decoded, source = self.transformer(source, position, tokens)
        source = source.transpose(1, 2).reshape(batch, channels, height, width)
        upscaled = self.output_upscaling(source)
        weights = torch.stack(
            [mlp(decoded[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        return torch.einsum("btc,bchw->bthw", weights, upscaled)

    @staticmethod
    def from_sam_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Start from SAM's mask decoder.

        The foreground token starts from SAM's single-mask token, the two distance tokens from its
        first two multi-mask tokens, likewise their hypernetworks.

        Args:
            state: a SAM state dict with ``mask_decoder.`` and ``prompt_encoder.`` keys.

        Returns:
            state dict of this class.
        """
        prefix = "mask_decoder."
        own = {}
        for key, value in state.items():
            name = key.removeprefix(prefix)
            if not key.startswith(prefix) or name.startswith(("iou_",)):
                continue
            if name == "mask_tokens.weight":
                own["output_tokens.weight"] = value[:NUM_MAPS].clone()
            elif name.startswith("output_hypernetworks_mlps."):
                if int(name.split(".")[1]) < NUM_MAPS:
                    own[name] = value
            else:
                own[name] = value
        gaussian = "pe_layer.positional_encoding_gaussian_matrix"
        own[gaussian] = state[f"prompt_encoder.{gaussian}"]
        own["no_mask_embed"] = state["prompt_encoder.no_mask_embed.weight"]
        return own


class ContrastHead(nn.Module):
    """g_omega, a 2-layer MLP with ReLU on every position of the embedding, and z+.

    Args:
        dim: d.
        temperature: tau of L_C.
        num_negatives: hard background pixels per image, at most.
        foreground_threshold: B above it on background is hard.
    """

    @configurable
    def __init__(
        self,
        *,
        dim: int = 128,
        temperature: float = 0.1,
        num_negatives: int = 100,
        foreground_threshold: float = 0.7,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.num_negatives = num_negatives
        self.foreground_threshold = foreground_threshold
        self.projection = nn.Sequential(
            nn.Conv2d(EMBED_DIM, EMBED_DIM, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(EMBED_DIM, dim, kernel_size=1),
        )
        self.prototype = nn.Parameter(torch.randn(dim))

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        return {
            "dim": cfg.MODEL.CONTRAST.DIM,
            "temperature": cfg.MODEL.CONTRAST.TEMPERATURE,
            "num_negatives": cfg.MODEL.CONTRAST.NUM_NEGATIVES,
            "foreground_threshold": cfg.MODEL.CONTRAST.FOREGROUND_THRESHOLD,
        }

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, 256, h, w) -> (B, d, h, w), not normalised."""
        return self.projection(embedding)

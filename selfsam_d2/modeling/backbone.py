"""SAM's image encoder with adapters as a Detectron2 backbone: base and adapted from one class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from selfsam_d2.errors import InputError, shortened
from selfsam_d2.modeling.adapter import StageAdapter, TokenMaker
from selfsam_d2.modeling.tiny_vit import TinyViTEncoder
from selfsam_d2.modeling.vit import VIT_SIZES, SAMViTEncoder, ViTBlock

__all__ = ["EMBEDDING", "SAMAdapterBackbone"]

EMBEDDING = "image_embedding"
SIZE_DIVISIBILITY = 64
STRIDE = 16
OUT_CHANNELS = 256
ENCODERS: dict[str, Callable[[], TinyViTEncoder | SAMViTEncoder]] = {
    "vit_t": TinyViTEncoder,
    **{name: partial(SAMViTEncoder, **size) for name, size in VIT_SIZES.items()},
}


@BACKBONE_REGISTRY.register()
class SAMAdapterBackbone(Backbone):
    """E_base and E_adapt: a frozen SAM encoder, and the same weights with adapters.

    The encoder stays frozen and in eval mode for good, batch norms included, whatever
    ``train()`` or ``requires_grad_()`` of a parent say to its mode; only the adapters learn.

    Args:
        encoder: the SAM encoder, :class:`TinyViTEncoder` or :class:`SAMViTEncoder`.
        adapter: whether :meth:`forward` uses adapters; without, it equals :meth:`forward_base`.
        reduction: r = (channels of the last stage) / reduction.
        zero_init: see :class:`StageAdapter`.
        high_pass_share: see :func:`selfsam_d2.modeling.adapter.high_pass`.
        read_features: see :class:`StageAdapter`.
        checkpoint_blocks: keep only the input of each block for the backward pass and compute the
            block again there: the same gradients with less memory and more time.
    """

    @configurable
    def __init__(
        self,
        *,
        encoder: TinyViTEncoder | SAMViTEncoder,
        adapter: bool = True,
        reduction: int = 32,
        zero_init: bool = True,
        high_pass_share: float = 0.25,
        read_features: bool = False,
        checkpoint_blocks: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoint_blocks = checkpoint_blocks
        self.encoder = encoder.requires_grad_(False).eval()
        for module in encoder.modules():
            if isinstance(module, ViTBlock):
                module.compact = not checkpoint_blocks
        self.adapter_tokens: TokenMaker | None = None
        self.adapters = nn.ModuleList()
        if adapter:
            rank = max(1, encoder.stage_dims[-1] // reduction)
            self.adapter_tokens = TokenMaker(
                embed_dim=encoder.embed_dim,
                rank=rank,
                patch_size=encoder.patch_size,
                high_pass_share=high_pass_share,
            )
            self.adapters.extend(
                StageAdapter(
                    rank=rank,
                    dim=dim,
                    depth=depth,
                    zero_init=zero_init,
                    read_features=read_features,
                )
                for dim, depth in zip(encoder.stage_dims, encoder.stage_depths, strict=True)
            )
        self._out_features = [EMBEDDING]
        self._out_feature_strides = {EMBEDDING: STRIDE}
        self._out_feature_channels = {EMBEDDING: OUT_CHANNELS}

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec | None = None) -> dict[str, Any]:
        del input_shape
        name = cfg.MODEL.SAM.ENCODER
        if name not in ENCODERS:
            raise InputError(
                f"MODEL.SAM.ENCODER {shortened(repr(name))}",
                f"unknown; expected one of {', '.join(ENCODERS)}",
            )
        return {
            "encoder": ENCODERS[name](),
            "adapter": cfg.MODEL.ADAPTER.ENABLED,
            "reduction": cfg.MODEL.ADAPTER.REDUCTION,
            "zero_init": cfg.MODEL.ADAPTER.ZERO_INIT,
            "high_pass_share": cfg.MODEL.ADAPTER.HIGH_PASS_SHARE,
            "read_features": cfg.MODEL.ADAPTER.READ_FEATURES,
            "checkpoint_blocks": cfg.MODEL.SAM.CHECKPOINT_BLOCKS,
        }

    @property
    def size_divisibility(self) -> int:
        return SIZE_DIVISIBILITY

    def train(self, mode: bool = True) -> SAMAdapterBackbone:
        """Set the mode of the adapters; the encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """z_adapt.

        Args:
            images: (B, 3, S, S) normalised, sides multiples of 64 (need not be square).

        Returns:
            ``{"image_embedding": (B, 256, S/16, S/16)}``.

        Raises:
            ValueError: a side is not a multiple of 64.
        """
        shared = self._shared(images)
        return {EMBEDDING: self._encode_adapted(images, *shared)}

    @torch.no_grad()
    def forward_base(self, images: Tensor) -> dict[str, Tensor]:
        """z_base: as :meth:`forward`, without adapters and without a gradient."""
        return {EMBEDDING: self.encoder.encode(self._shared(images)[1])}

    def forward_both(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(z_base, z_adapt) with the part that they share computed once."""
        patch_embedding, features = self._shared(images)
        with torch.no_grad():
            base = self.encoder.encode(features)
        if self.adapter_tokens is None:
            return {EMBEDDING: base}, {EMBEDDING: base}
        return {EMBEDDING: base}, {
            EMBEDDING: self._encode_adapted(images, patch_embedding, features)
        }

    @torch.no_grad()
    def _shared(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # Nothing is trained before the first adapted stage.
        height, width = images.shape[-2:]
        if height % SIZE_DIVISIBILITY or width % SIZE_DIVISIBILITY:
            raise ValueError(
                f"Expected argument `images` to have sides that are multiples of "
                f"{SIZE_DIVISIBILITY}, but got {height}x{width}."
            )
        return self.encoder.front(images)

    def _encode_adapted(self, images: Tensor, patch_embedding: Tensor, features: Tensor) -> Tensor:
        if self.adapter_tokens is None:
            return self.encoder.encode(features)
        made = self.adapter_tokens(images, patch_embedding)
        for stage, adapter in enumerate(self.adapters):
            assert isinstance(adapter, StageAdapter)
            tokens = adapter.resample(made, (features.shape[1], features.shape[2]))
            for index, block in enumerate(self.encoder.stage_blocks(stage)):
                run = partial(_adapted_block, block, adapter, index)
                if self.checkpoint_blocks and torch.is_grad_enabled():
                    features = checkpoint(run, tokens, features, use_reentrant=False)
                else:
                    features = run(tokens, features)
            features = self.encoder.leave_stage(features, stage)
        return self.encoder.neck(features)


def _adapted_block(
    block: nn.Module, adapter: StageAdapter, index: int, tokens: Tensor, features: Tensor
) -> Tensor:
    return block(features + adapter(tokens, features, index))

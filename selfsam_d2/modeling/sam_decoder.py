"""SAM's prompt encoder and mask decoder, frozen: Phi_mask."""

from __future__ import annotations

from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

__all__ = [
    "EMBED_DIM",
    "STRIDE",
    "build_mask_decoder",
    "build_prompt_encoder",
    "build_two_way_transformer",
]

EMBED_DIM = 256
STRIDE = 16
MASK_CHANNELS = 16


def build_prompt_encoder(input_side: int) -> PromptEncoder:
    """SAM's prompt encoder for a square encoder input of ``input_side`` px."""
    grid = input_side // STRIDE
    return PromptEncoder(
        embed_dim=EMBED_DIM,
        image_embedding_size=(grid, grid),
        input_image_size=(input_side, input_side),
        mask_in_chans=MASK_CHANNELS,
    )


def build_two_way_transformer() -> TwoWayTransformer:
    """The two-way transformer of SAM's mask decoder: depth 2, 8 heads."""
    return TwoWayTransformer(depth=2, embedding_dim=EMBED_DIM, mlp_dim=2048, num_heads=8)


def build_mask_decoder() -> MaskDecoder:
    """SAM's mask decoder with its single-mask and three multi-mask tokens."""
    return MaskDecoder(transformer_dim=EMBED_DIM, transformer=build_two_way_transformer())

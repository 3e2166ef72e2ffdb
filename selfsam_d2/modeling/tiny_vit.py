"""MobileSAM's image encoder: timm's TinyViT-5M with SAM's neck, run stage by stage."""

from __future__ import annotations

import re

from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import Attention, TinyVit
from torch import Tensor, nn

__all__ = ["TinyViTEncoder"]

EMBED_DIMS = (64, 128, 160, 320)
NUM_HEADS = (2, 4, 5, 10)
OUT_CHANNELS = 256
# MobileSAM's ImageNet classifier, and what is computed or counted anew.
UNUSED_PREFIXES = ("norm_head.", "head.")
UNUSED_SUFFIXES = ("attention_bias_idxs", "num_batches_tracked")


class TinyViTEncoder(nn.Module):
    """TinyViT-5M as MobileSAM uses it: the last down-sampling has stride 1, SAM's neck follows.

    Its parts are public so that a backbone can add something between the blocks:
    ``stem`` (patch embedding), ``first_stage`` (convolutions), ``enter_stage``, ``stage_blocks``
    and ``neck``.

    Attributes:
        embed_dim: channels of the patch embedding, 64.
        patch_size: px of the input per token of the patch embedding, 4.
        stage_dims: channels of the attention stages.
        stage_depths: blocks of the attention stages.
    """

    embed_dim = EMBED_DIMS[0]
    patch_size = 4
    stage_dims = EMBED_DIMS[1:]
    stage_depths = (2, 6, 2)
    patch_embed: nn.Module
    stages: nn.Sequential

    def __init__(self) -> None:
        super().__init__()
        body = TinyVit(
            embed_dims=EMBED_DIMS,
            depths=(2, *self.stage_depths),
            num_heads=NUM_HEADS,
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
            num_classes=0,
        )
        # A stride of 1 keeps the S/16 grid that SAM's decoder expects.
        last = body.get_submodule("stages.3.downsample.conv2.conv")
        assert isinstance(last, nn.Conv2d)
        last.stride = (1, 1)
        self.patch_embed = body.patch_embed
        self.stages = body.stages
        self.neck = nn.Sequential(
            nn.Conv2d(EMBED_DIMS[-1], OUT_CHANNELS, kernel_size=1, bias=False),
            LayerNorm2d(OUT_CHANNELS),
            nn.Conv2d(OUT_CHANNELS, OUT_CHANNELS, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(OUT_CHANNELS),
        )
        self.register_load_state_dict_post_hook(_clear_bias_caches)

    def stem(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> patch embedding (B, 64, S/4, S/4)."""
        embedding: Tensor = self.patch_embed(images)
        return embedding

    def first_stage(self, patch_embedding: Tensor) -> Tensor:
        """The convolutional stage 0: (B, 64, S/4, S/4) -> the same shape."""
        return self.stages[0](patch_embedding)

    def enter_stage(self, features: Tensor, stage: int) -> Tensor:
        """Down-sample into attention stage ``stage`` (0, 1, 2): (B, C, h, w) -> (B, H, W, C')."""
        smaller: Tensor = self.stages[stage + 1].get_submodule("downsample")(features)
        return smaller.permute(0, 2, 3, 1).contiguous()

    def stage_blocks(self, stage: int) -> list[nn.Module]:
        """The blocks of attention stage ``stage``, each (B, H, W, C) -> (B, H, W, C)."""
        return list(self.stages[stage + 1].get_submodule("blocks").children())

    @staticmethod
    def leave_stage(features: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, C, H, W)."""
        return features.permute(0, 3, 1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Encode without adapters.

        Args:
            images: (B, 3, S, S) normalised, S a multiple of 64.

        Returns:
            (B, 256, S/16, S/16).
        """
        features = self.first_stage(self.stem(images))
        for stage in range(len(self.stage_depths)):
            features = self.enter_stage(features, stage)
            for block in self.stage_blocks(stage):
                features = block(features)
            features = self.leave_stage(features)
        return self.neck(features)

    @staticmethod
    def rename_sam_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keys of MobileSAM's ``image_encoder.`` (prefix stripped) -> keys of this class.

        MobileSAM keeps a stage's down-sampling at the end of the stage before; its ImageNet
        classifier is of no use here and left out.
        """
        return {
            _rename_sam_key(key): value
            for key, value in state.items()
            if not key.startswith(UNUSED_PREFIXES) and not key.endswith(UNUSED_SUFFIXES)
        }


def _rename_sam_key(key: str) -> str:
    renamed = re.sub(
        r"^layers\.(\d+)\.downsample\.",
        lambda match: f"stages.{int(match[1]) + 1}.downsample.",
        key,
    )
    for pattern, replacement in (
        (r"^layers\.", "stages."),
        (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
        (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
        (r"\.c\.weight$", ".conv.weight"),
    ):
        renamed = re.sub(pattern, replacement, renamed)
    return renamed


def _clear_bias_caches(module: nn.Module, incompatible_keys: object) -> None:
    # timm keeps expanded attention biases from an earlier forward in eval mode.
    del incompatible_keys
    for part in module.modules():
        if isinstance(part, Attention):
            part.attention_bias_cache.clear()

"""MobileSAM's image encoder: timm's TinyViT-5M with SAM's neck, run stage by stage."""

from __future__ import annotations

import re

import torch
from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import Attention, TinyVit
from torch import Tensor, nn

from selfsam_d2.modeling.tiny_vit_layers import CHUNK_BYTES, use_fast_layers

__all__ = ["TinyViTEncoder"]

EMBED_DIMS = (64, 128, 160, 320)
NUM_HEADS = (2, 4, 5, 10)
OUT_CHANNELS = 256
# Rows of the input that the convolutions before the first attention reach beyond an output: 15.
HALO = 16
STRIP_STEP = 64
# Input pixels of a strip, halo included. Its largest map holds 64 bytes a pixel.
STRIP_PIXELS = CHUNK_BYTES // 64
# MobileSAM's ImageNet classifier, and what is computed or counted anew.
UNUSED_PREFIXES = ("norm_head.", "head.")
UNUSED_SUFFIXES = ("attention_bias_idxs", "num_batches_tracked")


class TinyViTEncoder(nn.Module):
    """TinyViT-5M as MobileSAM uses it: the last down-sampling has stride 1, SAM's neck follows.

    Its parts are public so that a backbone can add something between the blocks: ``front``
    (patch embedding, convolutions), ``stage_blocks``, ``leave_stage`` and ``neck``. Batch norms
    use their running statistics always, and are folded into the convolutions.

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
        use_fast_layers(body)
        self.patch_embed = body.patch_embed
        self.stages = body.stages
        self.neck = nn.Sequential(
            nn.Conv2d(EMBED_DIMS[-1], OUT_CHANNELS, kernel_size=1, bias=False),
            LayerNorm2d(OUT_CHANNELS),
            nn.Conv2d(OUT_CHANNELS, OUT_CHANNELS, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(OUT_CHANNELS),
        )
        self.register_load_state_dict_post_hook(_clear_bias_caches)

    def front(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Everything before the first attention: patch embedding, stage 0, first down-sampling.

        A CPU computes it in strips of rows, whose maps are small enough for their memory to be used
        again; each strip sees all that its rows depend on, so the result does not change.

        Args:
            images: (B, 3, S, S) normalised, S a multiple of 64.

        Returns:
            patch embedding (B, 64, S/4, S/4) and what enters the first block, (B, S/8, S/8, 128).
        """
        height = images.shape[2]
        on_cpu = images.device.type == "cpu"
        rows = strip_rows(images.shape[0] * images.shape[3]) if on_cpu else height
        if rows >= height:
            return self._front(images)
        strips = (self._strip(images, top, rows) for top in range(0, height, rows))
        embeddings, features = zip(*strips, strict=True)
        return torch.cat(embeddings, dim=2), torch.cat(features, dim=1)

    def _strip(self, images: Tensor, top: int, rows: int) -> tuple[Tensor, Tensor]:
        begin, bottom = max(top - HALO, 0), min(top + rows, images.shape[2])
        embedding, features = self._front(images[:, :, begin : bottom + HALO])
        first, last = top - begin, bottom - begin
        return embedding[:, :, first // 4 : last // 4], features[:, first // 8 : last // 8]

    def _front(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # Convolutions over few channels are faster with the channels last.
        embedding: Tensor = self.patch_embed(images.contiguous(memory_format=torch.channels_last))
        return embedding, self._down_sample(self.stages[0](embedding), 0)

    def _down_sample(self, features: Tensor, stage: int) -> Tensor:
        """Enter attention stage ``stage`` (0, 1, 2): (B, C, h, w) -> (B, H, W, C')."""
        smaller: Tensor = self.stages[stage + 1].get_submodule("downsample")(features)
        return smaller.permute(0, 2, 3, 1).contiguous()

    def stage_blocks(self, stage: int) -> list[nn.Module]:
        """The blocks of attention stage ``stage``, each (B, H, W, C) -> (B, H, W, C)."""
        return list(self.stages[stage + 1].get_submodule("blocks").children())

    def leave_stage(self, features: Tensor, stage: int) -> Tensor:
        """Behind attention stage ``stage``: (B, H, W, C) -> what enters the next or the neck.

        Returns:
            (B, H', W', C') down-sampled; behind the last stage (B, C, H, W).
        """
        maps = features.permute(0, 3, 1, 2)
        last = stage == len(self.stage_depths) - 1
        return maps if last else self._down_sample(maps, stage + 1)

    def forward(self, images: Tensor) -> Tensor:
        """Encode without adapters.

        Args:
            images: (B, 3, S, S) normalised, S a multiple of 64.

        Returns:
            (B, 256, S/16, S/16).
        """
        return self.encode(self.front(images)[1])

    def encode(self, features: Tensor) -> Tensor:
        """What enters the first block (B, S/8, S/8, 128) -> embedding, without adapters."""
        for stage in range(len(self.stage_depths)):
            for block in self.stage_blocks(stage):
                features = block(features)
            features = self.leave_stage(features, stage)
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


def strip_rows(width: int) -> int:
    """Rows of a strip of :meth:`TinyViTEncoder.front`, without its halo.

    Args:
        width: px of a row, of all images together.
    """
    rows = STRIP_PIXELS // width - 2 * HALO
    return max(rows // STRIP_STEP, 1) * STRIP_STEP


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

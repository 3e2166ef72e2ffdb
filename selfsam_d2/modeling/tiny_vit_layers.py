"""Parts of timm's TinyViT in a faster form: the same parameters, names and results."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.models.tiny_vit import Attention, ConvNorm, NormMlp
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CHUNK_BYTES", "ChunkedMlp", "FoldedConvNorm", "WindowAttention", "use_fast_layers"]

# Largest map that is made at once where none is kept for a backward pass. What is larger than
# 32 MB, the C library gets from the system anew each time, which costs more than the sums.
CHUNK_BYTES = 29_000_000


class WindowAttention(Attention):
    """timm's attention, with a mask that PyTorch's fused kernels take.

    They want a mask of four dimensions. Given three, ``scaled_dot_product_attention`` silently
    builds the matrix of scores.
    """

    @classmethod
    def like(cls, attention: Attention) -> WindowAttention:
        """A new one of the same shape, with its own weights."""
        return cls(
            dim=attention.qkv.in_features,
            key_dim=attention.key_dim,
            num_heads=attention.num_heads,
            attn_ratio=int(attention.attn_ratio),
            resolution=attention.resolution,
        )

    def get_attention_biases(self, device: torch.device) -> Tensor:
        """(1, heads, N, N)."""
        return super().get_attention_biases(device)[None]

    def forward(self, windows: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        return _in_chunks(super().forward, windows, self.qkv.out_features)


class ChunkedMlp(NormMlp):
    """timm's MLP; in prediction on a CPU its wide hidden maps are made part by part."""

    @classmethod
    def like(cls, mlp: NormMlp) -> ChunkedMlp:
        """A new one of the same shape, with its own weights."""
        return cls(mlp.fc1.in_features, mlp.fc1.out_features, mlp.fc2.out_features)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        rows = tokens.flatten(0, 1)
        out = _in_chunks(super().forward, rows, self.fc1.out_features)
        return out.unflatten(0, tokens.shape[:2])


class FoldedConvNorm(nn.Module):
    r"""A convolution whose batch norm keeps its running statistics for good, as one convolution.

    .. math:: \gamma \frac{w * x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
        = \Big(\frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} w\Big) * x
        + \beta - \frac{\gamma \mu}{\sqrt{\sigma^2 + \epsilon}}

    The weights stay apart, under the names that checkpoints have, and are folded in each call.

    Args:
        layer: timm's ``ConvNorm``; its parts are taken over.
    """

    def __init__(self, layer: ConvNorm) -> None:
        super().__init__()
        self.conv: nn.Conv2d = layer.conv
        self.bn: nn.BatchNorm2d = layer.bn

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h', w'), with running statistics in training mode too."""
        conv, norm = self.conv, self.bn
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return F.conv2d(
            maps,
            conv.weight * scale[:, None, None, None],
            norm.bias - norm.running_mean * scale,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
        )


def _in_chunks(function: Callable[[Tensor], Tensor], rows: Tensor, width: int) -> Tensor:
    """Apply a function to parts of the rows: (M, ..., C), where its maps have ``width`` channels.

    Not where a gradient is wanted, which keeps all maps anyway, nor on a GPU.
    """
    size = rows[0].numel() // rows.shape[-1] * width * rows.element_size()
    if torch.is_grad_enabled() or rows.device.type != "cpu" or len(rows) * size <= CHUNK_BYTES:
        return function(rows)
    return torch.cat([function(part) for part in rows.split(max(CHUNK_BYTES // size, 1))])


def use_fast_layers(module: nn.Module) -> None:
    """Replace every ``ConvNorm``, ``Attention`` and ``NormMlp`` of timm's TinyViT in a module."""
    for name, part in list(module.named_modules()):
        if isinstance(part, ConvNorm):
            module.set_submodule(name, FoldedConvNorm(part))
        elif type(part) is Attention:
            module.set_submodule(name, WindowAttention.like(part))
        elif type(part) is NormMlp:
            module.set_submodule(name, ChunkedMlp.like(part))

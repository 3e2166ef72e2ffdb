"""Parts of timm's TinyViT in a faster form: the same parameters, names and results."""

from __future__ import annotations

import torch
from timm.models.tiny_vit import Attention, ConvNorm
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FoldedConvNorm", "WindowAttention", "use_fast_layers"]


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


def use_fast_layers(module: nn.Module) -> None:
    """Replace every ``ConvNorm`` and ``Attention`` of timm's TinyViT in a module."""
    for name, part in list(module.named_modules()):
        if isinstance(part, ConvNorm):
            module.set_submodule(name, FoldedConvNorm(part))
        elif type(part) is Attention:
            module.set_submodule(name, WindowAttention.like(part))

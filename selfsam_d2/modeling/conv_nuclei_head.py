"""A prompt-free nuclei head of convolutions, for the maps of any backbone.

Shapes:
    B: images, H, W: sides of the backbone's input, px.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from torch import Tensor, nn

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.nuclei_head import NUCLEI_HEAD_REGISTRY, NUM_MAPS

__all__ = ["ConvNucleiHead"]

STRIDE = 4
PREDICTOR_STD = 0.01
GN_GROUPS = 32  # of Detectron2's "GN"


@NUCLEI_HEAD_REGISTRY.register()
class ConvNucleiHead(nn.Module):
    """Each map is convolved and enlarged to stride 4, and their sum is the prediction.

    The layers are those of Detectron2's ``SemSegFPNHead`` (Kirillov et al., "Panoptic Feature
    Pyramid Networks", CVPR 2019).

    Args:
        input_shape: channels and stride of each map that is read.
        conv_dim: channels between the convolutions.
        norm: between them, a name of ``detectron2.layers.get_norm``.
    """

    @configurable
    def __init__(
        self, input_shape: Mapping[str, ShapeSpec], *, conv_dim: int = 128, norm: str = "GN"
    ) -> None:
        super().__init__()
        self.pyramid = SemSegFPNHead(
            dict(input_shape),
            num_classes=NUM_MAPS,
            conv_dims=conv_dim,
            common_stride=STRIDE,
            norm=norm,
        )
        # Probabilities begin at 0.5 and HV maps at 0; Detectron2's start is of the order of 10.
        nn.init.normal_(self.pyramid.predictor.weight, std=PREDICTOR_STD)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        head = cfg.MODEL.NUCLEI_HEAD
        names = head.IN_FEATURES or tuple(input_shape)
        unknown = [name for name in names if name not in input_shape]
        if unknown:
            raise InputError(
                f"MODEL.NUCLEI_HEAD.IN_FEATURES {unknown[0]!r}",
                f"{cfg.MODEL.BACKBONE.NAME} has no such map; it gives {', '.join(input_shape)}",
            )
        if head.NORM == "GN" and head.CONV_DIM % GN_GROUPS:
            raise InputError(
                f"MODEL.NUCLEI_HEAD.CONV_DIM {head.CONV_DIM}",
                f"expected a multiple of {GN_GROUPS}, as MODEL.NUCLEI_HEAD.NORM is GN",
            )
        return {
            "input_shape": {name: input_shape[name] for name in names},
            "conv_dim": head.CONV_DIM,
            "norm": head.NORM,
        }

    def forward(self, features: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Foreground logits and HV map.

        Args:
            features: maps by name, or the map itself of a head that reads one.

        Returns:
            (B, 3, H/4, W/4): foreground logit, then the linear HV map in x and y.
        """
        if isinstance(features, Tensor):
            (name,) = self.pyramid.in_features
            features = {name: features}
        return self.pyramid.layers(features)

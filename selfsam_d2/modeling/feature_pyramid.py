"""Backbones with maps p2 ... p6 for Detectron2's own heads: a simple feature pyramid on one map.

Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, SimpleFeaturePyramid, ViT
from detectron2.modeling.backbone.fpn import LastLevelMaxPool

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.backbone import EMBEDDING, SAMAdapterBackbone

__all__ = ["PaddedFeaturePyramid", "build_sam_adapter_fpn_backbone", "build_vitdet_backbone"]

# Strides of p2 ... p5 against that of the map they are made of, 16.
SCALE_FACTORS = (4.0, 2.0, 1.0, 0.5)
VITDET_FEATURE = "last_feat"


class PaddedFeaturePyramid(SimpleFeaturePyramid):
    """Detectron2's simple feature pyramid, p2 ... p6 (strides 4 ... 64) of a map of stride 16.

    Detectron2's own class asks for no padding unless ``square_pad`` is set, and images of other
    sides then fail inside the network. This one has images padded to what the network and its
    coarsest map need, and may be given images of any size.

    Args:
        net: gives one map of stride 16.
        in_feature: name of that map.
        out_channels: channels of each map of the pyramid.
        norm: of its convolutions, a name of ``detectron2.layers.get_norm``.
    """

    def __init__(
        self,
        *,
        net: Backbone,
        in_feature: str = EMBEDDING,
        out_channels: int = 256,
        norm: str = "LN",
    ) -> None:
        super().__init__(
            net=net,
            in_feature=in_feature,
            out_channels=out_channels,
            scale_factors=SCALE_FACTORS,
            top_block=LastLevelMaxPool(),
            norm=norm,
        )
        self._divisor = math.lcm(self._size_divisibility, net.size_divisibility or 1)

    @property
    def size_divisibility(self) -> int:
        return self._divisor

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"size_divisibility": self._divisor, "square_size": 0}


@BACKBONE_REGISTRY.register()
def build_sam_adapter_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> PaddedFeaturePyramid:
    """:class:`SAMAdapterBackbone` under a simple feature pyramid.

    Adapters and pyramid are trained, the encoder is not. ``MODEL.SAM``, ``MODEL.ADAPTER`` and of
    ``MODEL.FPN`` the keys ``OUT_CHANNELS`` and ``NORM`` are read.

    Args:
        cfg: with the keys of :func:`selfsam_d2.config.add_selfsam_config`.
        input_shape: of Detectron2's registry; SAM takes RGB only.
    """
    return PaddedFeaturePyramid(
        net=SAMAdapterBackbone(cfg, input_shape),
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
    )


@BACKBONE_REGISTRY.register()
def build_vitdet_backbone(cfg: Any, input_shape: ShapeSpec) -> PaddedFeaturePyramid:
    """Detectron2's ViT under a simple feature pyramid, which Detectron2 builds from Python only.

    ``MODEL.VITDET`` says how large it is, ``MODEL.SAM.INPUT_SIDE`` for which side its position
    embeddings are made; they are interpolated to others.

    Args:
        cfg: with the keys of :func:`selfsam_d2.config.add_selfsam_config`.
        input_shape: ``channels`` of the images.

    Raises:
        InputError: sizes do not fit each other.
    """
    sizes, side = cfg.MODEL.VITDET, cfg.MODEL.SAM.INPUT_SIDE
    if sizes.NUM_HEADS < 1 or sizes.EMBED_DIM % sizes.NUM_HEADS:
        raise InputError(
            f"MODEL.VITDET.EMBED_DIM {sizes.EMBED_DIM}",
            f"expected a multiple of MODEL.VITDET.NUM_HEADS {sizes.NUM_HEADS}",
        )
    for block in sizes.GLOBAL_BLOCKS:
        if block not in range(sizes.DEPTH):
            raise InputError(
                f"MODEL.VITDET.GLOBAL_BLOCKS {tuple(sizes.GLOBAL_BLOCKS)}",
                f"expected numbers from 0 to {sizes.DEPTH - 1}, as MODEL.VITDET.DEPTH is "
                f"{sizes.DEPTH}",
            )
    windowed = [index for index in range(sizes.DEPTH) if index not in sizes.GLOBAL_BLOCKS]
    with warnings.catch_warnings():
        # It imports from a place that timm has given up.
        warnings.simplefilter("ignore", FutureWarning)
        net = ViT(
            img_size=side,
            pretrain_img_size=side,
            pretrain_use_cls_token=False,
            in_chans=input_shape.channels,
            embed_dim=sizes.EMBED_DIM,
            depth=sizes.DEPTH,
            num_heads=sizes.NUM_HEADS,
            drop_path_rate=sizes.DROP_PATH,
            use_rel_pos=True,
            window_size=sizes.WINDOW,
            window_block_indexes=windowed,
            out_feature=VITDET_FEATURE,
        )
    return PaddedFeaturePyramid(
        net=net,
        in_feature=VITDET_FEATURE,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
    )

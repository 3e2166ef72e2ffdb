"""The model of ``configs/monuseg_vitl.yaml`` as a LazyConfig; ``monuseg_vitb.py`` on training."""

from detectron2.config import LazyCall as L

from selfsam_d2.modeling.vit import VIT_SIZES, SAMViTEncoder

from .monuseg_vitb import model

model.backbone.encoder = L(SAMViTEncoder)(**VIT_SIZES["vit_l"])

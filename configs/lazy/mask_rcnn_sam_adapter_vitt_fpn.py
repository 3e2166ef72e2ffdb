"""The model of ``configs/mask_rcnn_sam_adapter_vitt_fpn.yaml`` as a LazyConfig."""

from detectron2.config import LazyCall as L

from selfsam_d2.modeling.tiny_vit import TinyViTEncoder

from .mask_rcnn_sam_adapter_vitb_fpn import model

model.backbone.net.encoder = L(TinyViTEncoder)()
model.backbone.out_channels = 128
model.proposal_generator.head.in_channels = 128
model.roi_heads.box_head.input_shape.channels = 128
model.roi_heads.box_head.fc_dims = [512, 512]
model.roi_heads.box_predictor.input_shape.channels = 512
model.roi_heads.mask_head.input_shape.channels = 128
model.roi_heads.mask_head.conv_dims = [128, 128, 128, 128, 128]

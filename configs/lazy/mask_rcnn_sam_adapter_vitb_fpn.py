"""The model of ``configs/mask_rcnn_sam_adapter_vitb_fpn.yaml`` as a LazyConfig.

Detectron2's Mask R-CNN of ``common/models/mask_rcnn_fpn.py`` with another backbone, and with
anchors and limits for thousands of nuclei.
"""

from detectron2.config import LazyCall as L
from detectron2.model_zoo import get_config

from selfsam_d2.modeling.backbone import SAMAdapterBackbone
from selfsam_d2.modeling.feature_pyramid import PaddedFeaturePyramid
from selfsam_d2.modeling.vit import VIT_SIZES, SAMViTEncoder

model = get_config("common/models/mask_rcnn_fpn.py").model
model.backbone = L(PaddedFeaturePyramid)(
    net=L(SAMAdapterBackbone)(
        encoder=L(SAMViTEncoder)(**VIT_SIZES["vit_b"]), reduction=4, read_features=True
    ),
    out_channels=256,
    norm="LN",
)
model.pixel_mean = [123.675, 116.28, 103.53]  # SAM's, RGB
model.pixel_std = [58.395, 57.12, 57.375]
model.input_format = "RGB"

model.proposal_generator.in_features = ["p2", "p3", "p4", "p5"]
model.proposal_generator.anchor_generator.sizes = [[16], [32], [64], [128]]  # px, enlarged image
model.proposal_generator.anchor_generator.strides = [4, 8, 16, 32]
model.proposal_generator.pre_nms_topk = (2000, 3000)
model.proposal_generator.post_nms_topk = (1000, 3000)

model.roi_heads.num_classes = 1
model.roi_heads.batch_size_per_image = 256
model.roi_heads.box_predictor.test_topk_per_image = 3000
model.roi_heads.mask_head.conv_dims = [256, 256, 256, 256, 256]  # four, and the up-scaling

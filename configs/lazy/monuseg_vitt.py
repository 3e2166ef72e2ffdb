"""The model of ``configs/monuseg_vitt.yaml`` as a LazyConfig; ``monuseg_vitb.py`` on training."""

from detectron2.config import LazyCall as L

from selfsam_d2.modeling.tiny_vit import TinyViTEncoder

from .monuseg_vitb import model

model.backbone.encoder = L(TinyViTEncoder)()
model.backbone.reduction = 4
model.backbone.read_features = True
model.prompter.spacing_box = True
model.label_maker.voronoi = True
model.label_maker.entropy_threshold = 0.37  # nats
model.label_maker.consensus = False
model.label_maker.stain_weight = 0.5
model.label_maker.one_part = True
model.loss_weights["loss_contrast"] = 0.0
model.inference.tile = 1024  # px
model.keep_empty_prompts = False
model.input_side = 448

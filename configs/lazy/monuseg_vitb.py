"""The model of ``configs/monuseg_vitb.yaml`` as a LazyConfig: the paper's settings.

``instantiate(LazyConfig.load("configs/lazy/monuseg_vitb.py").model)`` builds it. Crops, optimizer
and epochs are not of the model and stay in the YAML: a training loop of your own calls
:func:`selfsam_d2.engine.solver.build_optimizer` and, before each step,
:func:`selfsam_d2.engine.epochs.enter_epoch` with the YAML's config. Without the latter the labels
stay static: alpha 1, no boxes that the model has found.
"""

from detectron2.config import LazyCall as L

from selfsam_d2.modeling.backbone import SAMAdapterBackbone
from selfsam_d2.modeling.inference import NucleiInference
from selfsam_d2.modeling.nuclei_head import ContrastHead, SAMNucleiHead
from selfsam_d2.modeling.postprocess import PostProcessSettings
from selfsam_d2.modeling.prompter import Prompter
from selfsam_d2.modeling.sam_decoder import build_mask_decoder, build_prompt_encoder
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.vit import VIT_SIZES, SAMViTEncoder
from selfsam_d2.pseudo_labels.self_refining import SelfRefiningLabels

model = L(SelfSAM)(
    backbone=L(SAMAdapterBackbone)(encoder=L(SAMViTEncoder)(**VIT_SIZES["vit_b"])),
    prompter=L(Prompter)(
        prompt_encoder=L(build_prompt_encoder)(input_side="${...input_side}"),
        mask_decoder=L(build_mask_decoder)(),
        decoder_memory=400,  # MB
    ),
    nuclei_head=L(SAMNucleiHead)(),
    contrast_head=L(ContrastHead)(),
    label_maker=L(SelfRefiningLabels)(),
    inference=L(NucleiInference)(
        input_side="${..input_side}", postprocess=L(PostProcessSettings)()
    ),
    loss_weights={
        "loss_prompt": 1.0,
        "loss_foreground": 1.0,
        "loss_distance": 5.0,
        "loss_contrast": 1.0,
    },
    keep_empty_prompts=True,
    input_side=1024,  # S, px
    pixel_mean=[123.675, 116.28, 103.53],  # SAM's, RGB
    pixel_std=[58.395, 57.12, 57.375],
)

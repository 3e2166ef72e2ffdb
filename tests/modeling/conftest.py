"""A small SelfSAM and a made crop."""

import pytest
import torch
from torch.nn import functional as F

from selfsam_d2.modeling.backbone import SAMAdapterBackbone
from selfsam_d2.modeling.crop_losses import LOSS_NAMES
from selfsam_d2.modeling.inference import NucleiInference
from selfsam_d2.modeling.nuclei_head import ContrastHead, SAMNucleiHead
from selfsam_d2.modeling.prompter import Prompter
from selfsam_d2.modeling.sam_decoder import build_mask_decoder, build_prompt_encoder
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.tiny_vit import TinyViTEncoder
from selfsam_d2.pseudo_labels.self_refining import SelfRefiningLabels

SIDE = 64


@pytest.fixture
def build_selfsam():
    """Function: settings -> SelfSAM for an encoder input of 64 px, seeded."""

    def build(
        *,
        weights=(1.0, 1.0, 5.0, 1.0),
        prompts=None,
        labels=None,
        maker=SelfRefiningLabels,
        read_features=True,
    ):
        torch.manual_seed(0)
        return SelfSAM(
            backbone=SAMAdapterBackbone(
                encoder=TinyViTEncoder(), zero_init=False, read_features=read_features
            ),
            prompter=Prompter(
                prompt_encoder=build_prompt_encoder(SIDE),
                mask_decoder=build_mask_decoder(),
                **(prompts or {}),
            ),
            nuclei_head=SAMNucleiHead(),
            contrast_head=ContrastHead(foreground_threshold=0.0),
            label_maker=maker(**(labels or {})),
            inference=NucleiInference(window=32, overlap=8, crop=32, input_side=SIDE),
            loss_weights=dict(zip(LOSS_NAMES, weights, strict=True)),
            keep_empty_prompts=True,
            input_side=SIDE,
            pixel_mean=[123.675, 116.28, 103.53],
            pixel_std=[58.395, 57.12, 57.375],
        )

    return build


@pytest.fixture
def make_crop():
    """Function: number of points -> a training sample of 32 x 32 px."""

    def make(count=5, seed=0):
        generator = torch.Generator().manual_seed(seed)
        points = torch.rand(count, 2, generator=generator) * 32
        beyond = torch.tensor([[-3.0, 5.0], [40.0, 40.0]])
        return {
            "image": (torch.rand(3, 32, 32, generator=generator) * 255).byte(),
            "points": points,
            "context_points": torch.cat([points, beyond]) if count else points,
            "outside": torch.zeros(32, 32, dtype=torch.bool),
            "image_id": seed,
        }

    return make


@pytest.fixture(scope="session")
def randomise():
    def randomise(module):
        """Values of the order of a trained encoder's, position embeddings (zero at first) too."""
        for name, parameter in module.named_parameters():
            if "pos" in name:
                torch.nn.init.normal_(parameter, std=0.5)
            elif parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            else:
                torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)

    return randomise


@pytest.fixture(scope="session")
def interpolate_position():
    def interpolate_position(encoder, grid):
        """segment-anything's encoder for another side: its absolute embedding resized."""
        position = encoder.pos_embed.data.permute(0, 3, 1, 2)
        resized = F.interpolate(position, size=grid, mode="bicubic", align_corners=False)
        encoder.pos_embed = torch.nn.Parameter(resized.permute(0, 2, 3, 1))

    return interpolate_position

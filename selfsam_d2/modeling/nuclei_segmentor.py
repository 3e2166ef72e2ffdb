"""A nuclei head on any backbone, trained from instance masks: no SAM, no points, no prompts.

The masks may be true ones or pseudo labels that ``tools/export_pseudo_labels.py`` wrote.

Shapes:
    B: crops of a batch, c: side of a crop, S: side that a crop is resized to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from torch import Tensor, nn

from selfsam_d2.modeling.crop_losses import HEAD_LOSS_NAMES, head_losses
from selfsam_d2.modeling.crop_model import CropModel
from selfsam_d2.modeling.inference import NucleiInference
from selfsam_d2.modeling.nuclei_head import build_nuclei_head
from selfsam_d2.modeling.resize import resize_maps

__all__ = ["NucleiSegmentor"]


@META_ARCH_REGISTRY.register()
class NucleiSegmentor(CropModel):
    """Foreground map and HV map from a backbone of Detectron2, with L_B and L_D alone.

    Args:
        backbone: its maps go to the head.
        nuclei_head: of :data:`selfsam_d2.modeling.nuclei_head.NUCLEI_HEAD_REGISTRY`.
        inference: sliding windows and post-processing.
        loss_weights: name of :data:`selfsam_d2.modeling.crop_losses.HEAD_LOSS_NAMES` -> weight; 0
            switches the term off.
        pixel_mean: of RGB in 0 ... 255.
        pixel_std: of RGB in 0 ... 255.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        nuclei_head: nn.Module,
        inference: NucleiInference,
        loss_weights: dict[str, float],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(inference=inference, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.backbone = backbone
        self.nuclei_head = nuclei_head
        self.loss_weights = dict(loss_weights)

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        loss = cfg.MODEL.LOSS
        return {
            "backbone": backbone,
            "nuclei_head": build_nuclei_head(cfg, backbone.output_shape()),
            "inference": NucleiInference(cfg),
            "loss_weights": dict(
                zip(HEAD_LOSS_NAMES, (loss.FOREGROUND_WEIGHT, loss.DISTANCE_WEIGHT), strict=True)
            ),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses of a batch in training, predictions otherwise.

        Args:
            batched_inputs: one dict an image. Always: ``image`` (3, H, W) uint8 RGB. In training,
                where all crops have one size (c, c): ``instance_label`` (c, c) int64, 0
                background, 1 ... N nuclei, -1 ignored.

        Returns:
            training: dict of the two losses, weighted, means over the batch. Otherwise: a list of
            dicts, see :class:`NucleiInference`.
        """
        if not self.training:
            return self.predict_images(batched_inputs)
        crops = torch.stack([sample["image"] for sample in batched_inputs]).to(self.device)
        maps = self._head_maps(crops)
        per_image = [
            head_losses(head, sample["instance_label"].to(self.device), weights=self.loss_weights)
            for head, sample in zip(maps, batched_inputs, strict=True)
        ]
        return {
            name: weight * torch.stack([loss[name] for loss in per_image]).mean()
            for name, weight in self.loss_weights.items()
        }

    def predict_windows(self, images: Tensor) -> Tensor:
        maps = self._head_maps(images.to(self.device))
        return torch.cat([maps[:, :1].sigmoid(), maps[:, 1:]], dim=1)

    def _head_maps(self, images: Tensor) -> Tensor:
        """(B, 3, c, c) uint8 RGB -> (B, 3, c, c): foreground logit, HV map."""
        features = self.backbone(self.preprocess(images))
        if len(features) == 1:
            (features,) = features.values()
        return resize_maps(self.nuclei_head(features), images.shape[-2:])

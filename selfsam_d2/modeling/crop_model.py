"""What all our meta-architectures share: crops in training, windows of whole images otherwise.

Shapes:
    B: images, h, w: sides of a crop or window, S: side that the training resizes a crop to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selfsam_d2.modeling.inference import NucleiInference
from selfsam_d2.modeling.resize import resize_maps

__all__ = ["CropModel"]


class CropModel(nn.Module, ABC):
    """Images in uint8 at native scale, resized and normalised here.

    Args:
        inference: sliding windows and post-processing.
        pixel_mean: of RGB in 0 ... 255.
        pixel_std: of RGB in 0 ... 255.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        inference: NucleiInference,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.inference_settings = inference
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def preprocess(self, images: Tensor) -> Tensor:
        """(B, 3, c, c) uint8 RGB -> (B, 3, S, S) normalised; other sides at the same scale."""
        normalised = (images.float() - self.pixel_mean) / self.pixel_std
        height, width = (self.inference_settings.encoder_side(each) for each in images.shape[-2:])
        return resize_maps(normalised, (height, width))

    @abstractmethod
    def predict_windows(self, images: Tensor) -> Tensor:
        """Prompt-free prediction.

        Args:
            images: (B, 3, h, w) uint8 RGB.

        Returns:
            (B, 3, h, w): B in [0, 1], then the HV map in x and y.
        """

    def predict_images(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The nuclei of whole images, see :class:`NucleiInference`.

        Args:
            batched_inputs: each with ``image`` (3, H, W) uint8 RGB.
        """
        images = (sample["image"].to(self.device) for sample in batched_inputs)
        return self.inference_settings(self.predict_windows, images)

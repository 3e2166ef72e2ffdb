"""Prompt-free prediction of an image of any size: windows, then one post-processing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from detectron2.config import configurable
from torch import Tensor

from selfsam_d2.modeling.instances import instances_from_map
from selfsam_d2.modeling.postprocess import PostProcessSettings, separate_nuclei
from selfsam_d2.modeling.sliding_window import predict_by_windows

__all__ = ["NucleiInference"]


class NucleiInference:
    """Sliding windows and post-processing with the settings of a config.

    Args:
        window: side of a window, px.
        overlap: px shared by neighbouring windows.
        blend: ``centre`` or ``blend``, see :func:`predict_by_windows`.
        batch_size: windows per forward pass.
        postprocess: thresholds of the post-processing.
    """

    @configurable
    def __init__(
        self,
        *,
        window: int = 224,
        overlap: int = 80,
        blend: str = "centre",
        batch_size: int = 4,
        postprocess: PostProcessSettings | None = None,
    ) -> None:
        self.window = window
        self.overlap = overlap
        self.blend = blend
        self.batch_size = batch_size
        self.postprocess = postprocess or PostProcessSettings()

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        return {
            "window": cfg.INFERENCE.WINDOW,
            "overlap": cfg.INFERENCE.OVERLAP,
            "blend": cfg.INFERENCE.BLEND,
            "batch_size": cfg.INFERENCE.BATCH_SIZE,
            "postprocess": PostProcessSettings(
                **{key.lower(): value for key, value in cfg.POSTPROCESS.items()}
            ),
        }

    @torch.no_grad()
    def predict_maps(self, predict: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        """Foreground map and HV map of a whole image.

        Args:
            predict: (B, 3, w, w) uint8 RGB windows -> (B, 3, w, w): B, then HV.
            image: (3, H, W) uint8 RGB.

        Returns:
            (3, H, W) float on the CPU: B in [0, 1], then the HV map in x and y.
        """
        return predict_by_windows(
            image,
            predict,
            window=self.window,
            overlap=self.overlap,
            blend=self.blend,
            batch_size=self.batch_size,
        ).cpu()

    def __call__(self, predict: Callable[[Tensor], Tensor], image: Tensor) -> dict[str, Any]:
        """Predict the nuclei of an image.

        Returns:
            ``instances``: Instances with boxes, scores, classes and ``pred_masks`` as RLEs;
            ``instance_map``: (H, W) int32; ``foreground``: (H, W) B in [0, 1].
        """
        maps = self.predict_maps(predict, image).numpy()
        instance_map = separate_nuclei(maps[0], maps[1:], self.postprocess)
        return {
            "instances": instances_from_map(instance_map, maps[0]),
            "instance_map": torch.from_numpy(instance_map),
            "foreground": torch.from_numpy(maps[0]),
        }

"""Prompt-free prediction of an image of any size: windows, then one post-processing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from detectron2.config import configurable
from numpy.typing import NDArray
from torch import Tensor

from selfsam_d2.modeling.backbone import SIZE_DIVISIBILITY, STRIDE
from selfsam_d2.modeling.instances import instances_from_map
from selfsam_d2.modeling.postprocess import PostProcessSettings, separate_nuclei
from selfsam_d2.modeling.sliding_window import decode_by_windows, predict_by_windows
from selfsam_d2.modeling.symmetries import average_over_symmetries

__all__ = ["NucleiInference", "scale_step"]


def scale_step(crop: int, input_side: int) -> int:
    """Sides in px that the encoder can take at the scale of the training are multiples of this.

    Args:
        crop: side of a training crop, px.
        input_side: S, side that it is resized to, px.
    """
    unit = SIZE_DIVISIBILITY * crop
    return unit // math.gcd(unit, input_side)


class NucleiInference:
    """Sliding windows and post-processing with the settings of a config.

    Args:
        window: side of a window, px.
        overlap: px shared by neighbouring windows.
        blend: ``centre`` or ``blend``, see :func:`predict_by_windows`.
        batch_size: windows per forward pass.
        tile: side in px of what the encoder sees at once, at most; 0: the window. Only for an
            encoder whose attention is local: the decoder gets windows of the embedding, and the
            overlaps of windows are not encoded again and again.
        crop: side of a training crop, px.
        input_side: S, side that a training crop is resized to for the encoder, px.
        symmetries: orientations that the prediction is averaged over: 1, 2, 4 or 8, see
            :func:`average_over_symmetries`.
        amp: half precision on a GPU; a CPU predicts in fp32.
        workers: processes that post-process images while the network is at the next ones; 0: this
            process does it.
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
        tile: int = 0,
        crop: int = 224,
        input_side: int = 1024,
        symmetries: int = 1,
        amp: bool = True,
        workers: int = 0,
        postprocess: PostProcessSettings | None = None,
    ) -> None:
        self.window = window
        self.overlap = overlap
        self.blend = blend
        self.batch_size = batch_size
        self.tile = tile
        self.crop = crop
        self.input_side = input_side
        self.symmetries = symmetries
        self.amp = amp
        self.workers = workers
        self.postprocess = postprocess or PostProcessSettings()

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        return {
            "window": cfg.INFERENCE.WINDOW,
            "overlap": cfg.INFERENCE.OVERLAP,
            "blend": cfg.INFERENCE.BLEND,
            "batch_size": cfg.INFERENCE.BATCH_SIZE,
            "tile": cfg.INFERENCE.TILE,
            "crop": cfg.INPUT.NUCLEI.CROP,
            "input_side": cfg.MODEL.SAM.INPUT_SIDE,
            "symmetries": cfg.INFERENCE.SYMMETRIES,
            "amp": cfg.INFERENCE.AMP,
            "workers": cfg.INFERENCE.WORKERS,
            "postprocess": PostProcessSettings(
                **{key.lower(): value for key, value in cfg.POSTPROCESS.items()}
            ),
        }

    def encoder_side(self, length: int) -> int:
        """Side in px that ``length`` px are resized to: the scale of the training, to 64 px."""
        side = length * self.input_side / self.crop
        return max(1, round(side / SIZE_DIVISIBILITY)) * SIZE_DIVISIBILITY

    def tile_side(self, height: int, width: int) -> int:
        """Side of the tiles of an image, px: as many as needed, and no larger than needed."""
        if not self.tile:
            return self.window
        step = scale_step(self.crop, self.input_side)
        largest = max(self.window, min(self.tile, -(-min(height, width) // step) * step))
        needed = self.window
        for length in (height, width):
            count = max(1, math.ceil((length - self.overlap) / (largest - self.overlap)))
            needed = max(needed, math.ceil((length + (count - 1) * self.overlap) / count))
        return min(largest, -(-needed // step) * step)

    def decode(self, head: Callable[[Tensor], Tensor], embedding: Tensor) -> Tensor:
        """Apply the nuclei head to windows of an embedding, of the size it was trained on.

        Args:
            head: (B, 256, t, t) -> (B, 3, 4t, 4t).
            embedding: (B, 256, h, w).

        Returns:
            (B, 3, 4h, 4w).
        """
        tokens = self.input_side // STRIDE
        if min(embedding.shape[-2:]) <= tokens:
            return head(embedding)
        overlap = int(self.overlap * self.input_side / self.crop / STRIDE)
        decoded = [
            decode_by_windows(each, head, tokens, overlap, self.blend, self.batch_size)
            for each in embedding
        ]
        return torch.stack(decoded)

    @torch.no_grad()
    def predict_maps(self, predict: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        """Foreground map and HV map of a whole image.

        Args:
            predict: (B, 3, w, w) uint8 RGB windows -> (B, 3, w, w): B, then HV.
            image: (3, H, W) uint8 RGB.

        Returns:
            (3, H, W) float on the CPU: B in [0, 1], then the HV map in x and y.
        """

        def predict_one(turned: Tensor) -> Tensor:
            return self._predict_orientation(predict, turned)

        return average_over_symmetries(predict_one, image, self.symmetries)

    def _predict_orientation(self, predict: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        side = self.tile_side(image.shape[1], image.shape[2])
        device = image.device.type
        with torch.autocast(device, enabled=self.amp and device == "cuda"):
            maps = predict_by_windows(
                image,
                predict,
                window=side,
                overlap=self.overlap,
                blend=self.blend,
                # A tile is a batch of windows by itself.
                batch_size=1 if side > self.window else self.batch_size,
            )
        return maps.float().cpu()

    def __call__(
        self, predict: Callable[[Tensor], Tensor], images: Iterable[Tensor]
    ) -> list[dict[str, Any]]:
        """Predict the nuclei of images.

        With workers an image is post-processed while the network is at the next ones.

        Args:
            predict: see :meth:`predict_maps`.
            images: each (3, H, W) uint8 RGB.

        Returns:
            For each image ``instances``: Instances with boxes, scores, classes and ``pred_masks``
            as RLEs; ``instance_map``: (H, W) int32; ``foreground``: (H, W) B in [0, 1].
        """
        maps = (self.predict_maps(predict, image).numpy() for image in images)
        if not self.workers:
            return [
                _finish(each, separate_nuclei(each[0], each[1:], self.postprocess)) for each in maps
            ]
        pool = _worker_pool(self.workers)
        try:
            begun = [
                (each, pool.submit(separate_nuclei, each[0], each[1:], self.postprocess))
                for each in maps
            ]
            return [_finish(each, future.result()) for each, future in begun]
        except BrokenProcessPool:
            _worker_pool.cache_clear()  # the next call begins with new processes
            raise


def _finish(maps: NDArray[np.float32], instance_map: NDArray[np.int32]) -> dict[str, Any]:
    return {
        "instances": instances_from_map(instance_map, maps[0]),
        "instance_map": torch.from_numpy(instance_map),
        "foreground": torch.from_numpy(maps[0]),
    }


@lru_cache(maxsize=1)
def _worker_pool(workers: int) -> ProcessPoolExecutor:
    # A forked process would inherit the locks of PyTorch's threads.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

"""From a name of weights to nuclei on an image, in two lines of Python."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from numpy.typing import NDArray
from PIL import Image

from selfsam_d2.engine.architectures import predicts_by_windows
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.setup import config_from_text, load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.name_matching import require_whole
from selfsam_d2.modeling.weights import load_checkpoint
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.prediction.given_image import require_microns, rgb_pixels
from selfsam_d2.prediction.resolution import predict_at_scale, scale_between
from selfsam_d2.weights.resolve import notes_of, read_checkpoint, resolve_weights

__all__ = ["NucleiPredictor", "config_of_weights"]

CONFIG_OF_RUN = "config.yaml"  # beside the checkpoints of a training
# Keys that change how fast nuclei are found, and how much memory it takes, but not which.
SAME_NUCLEI = (
    *(("MODEL", key) for key in ("DEVICE", "WEIGHTS")),
    *(("INFERENCE", key) for key in ("BATCH_SIZE", "WORKERS")),
)


class NucleiPredictor:
    """Find the nuclei of images; needs no point and no config.

    .. code-block:: python

        predict = NucleiPredictor("selfsam_monuseg_vitt")
        nuclei = predict(image)  # (H, W, 3) uint8 RGB, or a PIL image
        nuclei.instance_map, nuclei.to_geojson(), nuclei.overlay(), nuclei.table()

    Args:
        weights: a name such as ``selfsam_monuseg_vitt``, a path or an ``http(s)`` URL.
        config_file: YAML of the model. Left out, the config that the weights hold is taken, or
            ``config.yaml`` beside them.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...; None: that of the config, or the CPU where there
            is no GPU.
        overrides: KEY VALUE pairs over the config, such as ``("INFERENCE.SYMMETRIES", "8")``.

    Raises:
        InputError: weights, config or device cannot be used.
    """

    def __init__(
        self,
        weights: str | Path,
        config_file: str | Path | None = None,
        *,
        device: str | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        if device is not None:
            _require_device(device)
        path = resolve_weights(str(weights))
        checkpoint = read_checkpoint(path)
        require_whole(checkpoint, weights)
        chosen = () if device is None else ("MODEL.DEVICE", device)
        self.cfg = config_of_weights(path, checkpoint, config_file, (*overrides, *chosen))
        check_config(self.cfg)
        if not predicts_by_windows(self.cfg):
            raise InputError(
                f"MODEL.META_ARCHITECTURE {self.cfg.MODEL.META_ARCHITECTURE}",
                "images of any size are predicted by SelfSAM and NucleiSegmentor only",
            )
        self.model = SelfSAMTrainer.build_model(self.cfg).eval()
        load_checkpoint(self.model, checkpoint, weights)

    @property
    def microns_per_pixel(self) -> float | None:
        """Of the images that the model was trained on; None: unknown."""
        return self.cfg.INPUT.NUCLEI.MICRONS_PER_PIXEL or None

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the weights and with every setting that the nuclei may depend on."""
        digest = hashlib.sha256()
        for name, values in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        cfg = self.cfg.clone()
        cfg.defrost()
        for section, key in SAME_NUCLEI:
            del cfg[section][key]
        for section in ("MODEL", "INPUT", "INFERENCE", "POSTPROCESS"):
            digest.update(cfg[section].dump().encode())
        return digest.hexdigest()

    def __call__(
        self,
        image: NDArray[np.uint8] | Image.Image,
        *,
        name: str = "",
        microns_per_pixel: float | None = None,
    ) -> NucleiPrediction:
        """Predict the nuclei of one image.

        Args:
            image: (H, W, 3) uint8 RGB; or a PIL image in colour, mode RGB, RGBA (alpha is dropped)
                or P.
            name: of the image, for the files that are made of the prediction.
            microns_per_pixel: of the image; gives measurements in µm beside those in px. Where
                that of the model is known as well and differs, the model sees the image in its
                own resolution; the nuclei are in px of the image all the same.

        Raises:
            ValueError: the image is none of these, such as grey or of 16 bits, or
                ``microns_per_pixel`` is not a finite number above 0.
        """
        require_microns(microns_per_pixel)
        pixels = rgb_pixels(image)
        scale = scale_between(self.microns_per_pixel, microns_per_pixel)
        found = predict_at_scale(self._predict, pixels, scale)
        return replace(found, name=name, microns_per_pixel=microns_per_pixel)

    def _predict(self, pixels: NDArray[np.uint8]) -> NucleiPrediction:
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        with torch.no_grad():
            (found,) = self.model([{"image": tensor}])
        return NucleiPrediction(
            image=pixels,
            instance_map=found["instance_map"].numpy(),
            scores=found["instances"].scores.numpy(),
            foreground=found["foreground"].numpy(),
        )


def _require_device(device: str) -> None:
    """Who asks for a GPU is not given the CPU without a word."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"device {device}", f"cannot be used ({reason}); try cpu") from error


def config_of_weights(
    path: Path,
    checkpoint: dict[str, Any],
    config_file: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> CfgNode:
    """The config that weights were trained with.

    Args:
        path: their file.
        checkpoint: its content.
        config_file: taken if given; otherwise the config in the file, then that beside it.
        overrides: KEY VALUE pairs over it.

    Raises:
        InputError: there is none, or it has keys that this version does not know.
    """
    kept = notes_of(checkpoint).get("config")
    beside = path.with_name(CONFIG_OF_RUN)
    if config_file is None and kept is not None:
        if not isinstance(kept, str):
            raise InputError(path, "holds a config that is no text; give --config-file")
        return config_from_text(kept, f"config in {path}", overrides)
    if config_file is None and not beside.is_file():
        raise InputError(path, "holds no config, and none lies beside it; give --config-file")
    return load_config(str(config_file or beside), list(overrides))

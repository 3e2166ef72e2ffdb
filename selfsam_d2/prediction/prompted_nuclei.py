"""Masks that SAM draws for points set by hand on one image.

Shapes:
    H, W: height and width of the image, K: points, w: side of a window, px.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsam_d2.engine.checks import require_selfsam
from selfsam_d2.modeling.backbone import EMBEDDING
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.sliding_window import mirror_to_window
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.prediction.predictor import NucleiPredictor
from selfsam_d2.pseudo_labels.parts import keep_one_part

__all__ = ["PromptedNuclei"]


class PromptedNuclei:
    """One nucleus per point: m_base, by the base encoder and the prompts of the config.

    Each point is seen in a window of the size of a training crop, as central as the image allows.
    A training knows the points of all nuclei, and the prompts depend on the nearest ones (spacing
    box, negative prompts). Here the other points count as neighbours, and the centroids of nuclei
    that were found and hold no point: a new point may change the masks of others. Windows are
    encoded once.

    Args:
        predictor: of a SelfSAM model.
        image: (H, W, 3) uint8 RGB.
        name: of the image.
        found: nuclei of the image that are neighbours; None: points have no neighbours but points.

    Raises:
        InputError: the model is none that takes points.
    """

    def __init__(
        self,
        predictor: NucleiPredictor,
        image: NDArray[np.uint8],
        name: str = "",
        found: NucleiPrediction | None = None,
    ) -> None:
        require_selfsam(predictor.cfg)
        self._model: SelfSAM = predictor.model
        self._threshold = predictor.cfg.PSEUDO_LABEL.MASK_THRESHOLD
        self._one_part = predictor.cfg.PSEUDO_LABEL.ONE_PART
        self._window = predictor.cfg.INPUT.NUCLEI.CROP
        self._image = image
        self._name = name
        self._found = found
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        self._padded, self._offset = mirror_to_window(tensor, self._window)
        self._points: list[tuple[float, float]] = []
        # Of each point: corner (y, x) in the padded image, z_base (1, 256, S/16, S/16).
        self._windows: list[tuple[tuple[int, int], Tensor]] = []

    def __len__(self) -> int:
        """Number K of points."""
        return len(self._points)

    @property
    def points(self) -> NDArray[np.float64]:
        """(K, 2) xy, px of the image."""
        return np.array(self._points, dtype=np.float64).reshape(-1, 2)

    @torch.no_grad()
    def add(self, x: float, y: float) -> None:
        """Set a point, px of the image.

        Raises:
            ValueError: it lies outside the image.
        """
        height, width = self._image.shape[:2]
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"Expected a point inside {width} x {height} px, but got ({x}, {y}).")
        above, before = self._offset
        corner = self._begin(y + above, 1), self._begin(x + before, 2)
        crop = self._crop(corner)[None].to(self._model.device)
        embedding = self._model.backbone.forward_base(self._model.preprocess(crop))[EMBEDDING]
        self._points.append((x, y))
        self._windows.append((corner, embedding))

    def clear(self) -> None:
        """Take all points away."""
        self._points.clear()
        self._windows.clear()

    @torch.no_grad()
    def prediction(self) -> NucleiPrediction:
        """The nuclei of the points: id k belongs to point k - 1.

        A pixel of several masks goes to the one that is surest of it. A point for which SAM draws
        nothing, or whose mask others cover, has no nucleus. ``scores`` are mean probabilities,
        ``foreground`` is the largest one at each pixel.
        """
        height, width = self._image.shape[:2]
        best = np.zeros((height, width), dtype=np.float32)
        instance_map = np.zeros((height, width), dtype=np.int32)
        for index in range(len(self)):
            mask, window = self._mask(index)
            known, ids = best[window], instance_map[window]
            surer = mask > known
            ids[surer & (mask > self._threshold)] = index + 1
            known[surer] = mask[surer]
        if self._one_part:
            instance_map = keep_one_part(torch.from_numpy(instance_map)).numpy()
        numbers = np.unique(instance_map[instance_map > 0])
        scores = [best[instance_map == number].mean() for number in numbers]
        return NucleiPrediction(
            image=self._image,
            instance_map=instance_map,
            scores=np.array(scores, dtype=np.float32),
            foreground=best,
            name=self._name,
        )

    def _mask(self, index: int) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
        """m_base of a point inside the image, and where in the image it lies."""
        (top, left), embedding = self._windows[index]
        side, (above, before) = self._window, self._offset
        context = self._context() + torch.tensor([before - left, above - top])
        sample: dict[str, Any] = {
            "image": self._crop((top, left)),
            "points": context[index : index + 1],
            "context_points": context,
            "image_id": self._name,
        }
        tokens = self._model.encode_prompts(sample)
        mask = self._model.prompt_logits(embedding, tokens, (side, side))[0].sigmoid().cpu().numpy()
        # The padded image may begin above the image, and end below it.
        y, x = top - above, left - before
        rows = slice(max(y, 0), min(y + side, self._image.shape[0]))
        columns = slice(max(x, 0), min(x + side, self._image.shape[1]))
        inside = mask[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
        return inside, (rows, columns)

    def _context(self) -> Tensor:
        """(N, 2) xy, px of the image: the points, then the centroids of nuclei without a point."""
        if self._found is None:
            return torch.from_numpy(self.points).float()
        columns, rows = self.points.astype(np.int64).T
        table = self._found.table()
        free = ~np.isin(table["id"], self._found.instance_map[rows, columns])
        centroids = np.stack([table["x_px"], table["y_px"]], axis=1)[free]
        return torch.from_numpy(np.concatenate([self.points, centroids])).float()

    def _begin(self, place: float, axis: int) -> int:
        """Where a window around a place begins in the padded image, px."""
        last = self._padded.shape[axis] - self._window
        return min(max(round(place - self._window / 2), 0), last)

    def _crop(self, corner: tuple[int, int]) -> Tensor:
        top, left = corner
        return self._padded[:, top : top + self._window, left : left + self._window]

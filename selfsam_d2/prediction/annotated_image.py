"""An image with the nuclei that were found on it and those of points set by hand."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsam_d2.data.images import image_size, read_image
from selfsam_d2.errors import InputError
from selfsam_d2.outputs.geojson import CLASS_NAME
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.prediction.predictor import NucleiPredictor
from selfsam_d2.prediction.prompted_nuclei import PromptedNuclei
from selfsam_d2.visualization.overlay import (
    PREDICTED_COLOR,
    TRUE_COLOR,
    draw_contours,
    draw_points,
)

__all__ = ["MAX_PIXELS", "PROMPTED_CLASS", "AnnotatedImage"]

MAX_PIXELS = 2048 * 2048
PROMPTED_CLASS = f"{CLASS_NAME} (point)"
POINT_RADIUS = 2  # px


class AnnotatedImage:
    """What a page that is clicked on shows and hands out.

    Args:
        predictor: finds the nuclei; called once, when they are first asked for.
        path: PNG, JPEG or TIFF, 8-bit RGB.
        max_pixels: of an image.

    Raises:
        InputError: the file cannot be used, or has more pixels.
    """

    def __init__(
        self, predictor: NucleiPredictor, path: str | Path, max_pixels: int = MAX_PIXELS
    ) -> None:
        height, width = image_size(path)
        if height * width > max_pixels:
            raise InputError(
                Path(path).name,
                f"{width} x {height} px are more than the {max_pixels / 1e6:.1f} million pixels of "
                "this page; cut out a part, or use tools/predict.py",
            )
        self.name = Path(path).name
        self.image = read_image(path)
        self._predictor = predictor
        self._prompter: PromptedNuclei | None = None
        self._prompted: NucleiPrediction | None = None

    @cached_property
    def found(self) -> NucleiPrediction:
        """The nuclei that the model finds without points."""
        return self._predictor(self.image, name=self.name)

    @cached_property
    def _found_features(self) -> list[dict[str, Any]]:
        features: list[dict[str, Any]] = self.found.to_geojson()["features"]
        return features

    @property
    def _replaced(self) -> NDArray[np.bool_]:
        """(N + 1,) by id of a found nucleus: a prompted one takes its place.

        Such a one covers more than half of it, or its point lies in it.
        """
        owners = self.found.instance_map
        area = np.bincount(owners.ravel(), minlength=len(self.found) + 1)
        if self.prompted is None:
            return np.zeros(len(area), dtype=bool)
        prompted = self.prompted.instance_map
        replaced = 2 * np.bincount(owners[prompted > 0], minlength=len(area)) > area
        columns, rows = self.points.astype(np.int64).T
        outlined = np.isin(np.arange(1, len(self.points) + 1), prompted)
        replaced[owners[rows, columns][outlined]] = True
        replaced[0] = False
        return replaced

    @property
    def points(self) -> NDArray[np.float64]:
        """(K, 2) xy of the points, px."""
        return np.zeros((0, 2)) if self._prompter is None else self._prompter.points

    def add_point(self, x: float, y: float) -> None:
        """Prompt SAM with one more point, px.

        Raises:
            InputError: the model takes no points.
            ValueError: it lies outside the image.
        """
        prompter = self._prompter or PromptedNuclei(
            self._predictor, self.image, f"{self.name}, points set by hand", self.found
        )
        prompter.add(x, y)
        self._prompter, self._prompted = prompter, prompter.prediction()

    def clear_points(self) -> None:
        """Take all points and their nuclei away."""
        self._prompter = self._prompted = None

    @property
    def prompted(self) -> NucleiPrediction | None:
        """The nuclei of the points; None without points."""
        return self._prompted

    def drawing(self) -> NDArray[np.uint8]:
        """The image with contours, yellow found and cyan prompted, and the points.

        A prompted nucleus takes the place of the found ones that hold its point, or that it covers
        by more than half.
        """
        if self.prompted is None:
            return self.found.overlay()
        owners = self.found.instance_map
        kept = np.where(self._replaced[owners], 0, owners)
        drawn = draw_contours(self.image, kept, PREDICTED_COLOR)
        drawn = draw_contours(drawn, self.prompted.instance_map, TRUE_COLOR, thickness=2)
        return draw_points(drawn, self.points, radius=POINT_RADIUS)

    def to_geojson(self) -> dict[str, Any]:
        """All nuclei as QuPath's GeoJSON; those of points are of a class of their own.

        No nucleus is there twice: see the drawing.
        """
        prompted, replaced = self.prompted, self._replaced[1:]
        more = [] if prompted is None else prompted.to_geojson(PROMPTED_CLASS)["features"]
        kept = [
            feature
            for feature, gone in zip(self._found_features, replaced, strict=True)
            if not gone
        ]
        return {"type": "FeatureCollection", "features": [*kept, *more]}

    def summary(self) -> str:
        """One line on what is drawn."""
        line = f"{self.name}: {len(self.found) - self._replaced.sum()} nuclei found"
        if self.prompted is None:
            return line
        points = len(self.points)
        return f"{line}, {len(self.prompted)} outlined at {points} point{'s'[: points != 1]}"

"""Training images beside what a trained model finds on them without their points.

Shape legend:
    H, W: height and width of an image or of the crop of it that is looked at, px
    N: number of points
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from selfsam_d2.data.images import read_image
from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.engine.data_checks import load_records
from selfsam_d2.engine.run_images import best_median_worst
from selfsam_d2.evaluation.instance_maps import predicted_map
from selfsam_d2.evaluation.nuclei_evaluator import image_names
from selfsam_d2.evaluation.point_matches import PointMatches, match_points
from selfsam_d2.structures.annotation_masks import crowd_mask

__all__ = [
    "MAX_IMAGES",
    "MAX_SIDE",
    "MatchedImage",
    "TrainingImage",
    "choose_matched",
    "crop_window",
    "match_image",
    "read_training_images",
]

MAX_IMAGES = 12
MAX_SIDE = 512  # px; a second and a half on one core of a CPU with ViT-T


@dataclass(frozen=True)
class TrainingImage:
    """An image with points, or the crop of it.

    Attributes:
        name: its file stem, or the whole file name where stems are shared.
        image: (H, W, 3) uint8 RGB.
        points: (N, 2) xy, px, N at least 1: as the training saw them, shift noise included.
        unknown: (H, W) bool, where nobody set points, or where the crop cuts a nucleus off from
            its point.
        whole: whether it is no crop.
    """

    name: str
    image: NDArray[np.uint8]
    points: NDArray[np.float64]
    unknown: NDArray[np.bool_]
    whole: bool


@dataclass(frozen=True)
class MatchedImage:
    """A training image with its prediction.

    Attributes:
        source: the image.
        pred: (H, W) predicted instance map.
        matches: of the points and the nuclei.
    """

    source: TrainingImage
    pred: NDArray[np.integer[Any]]
    matches: PointMatches


def read_training_images(cfg: Any) -> tuple[list[TrainingImage], int]:
    """Read some of the training images that have points, evenly chosen from all of these.

    Args:
        cfg: of a training from points, its datasets registered.

    Returns:
        1 to 12 images, and how many there are; a dataset without any point cannot be read.

    Raises:
        InputError: a dataset or an image cannot be used.
    """
    records = load_records(cfg.DATASETS.TRAIN)
    names = image_names(  # ids are shared by datasets
        [{**record, "image_id": number} for number, record in enumerate(records)]
    )
    mapper = PointPromptDatasetMapper(cfg)
    with_points = [number for number in names if len(mapper.points(records[number]))]
    places = np.linspace(0, len(with_points) - 1, min(MAX_IMAGES, len(with_points)))
    return [
        _read(names[number], records[number], mapper.points(records[number]))
        for number in (with_points[round(place)] for place in places.tolist())
    ], len(with_points)


def crop_window(points: NDArray[np.float64], size: tuple[int, int]) -> tuple[slice, slice]:
    """The part of a large image that is looked at: around the point in the middle of all.

    Args:
        points: (N, 2) xy, px of the image, N at least 1.
        size: (H, W) of the image.

    Returns:
        of rows and of columns, up to 512 each; it holds a point.
    """
    distances = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    x, y = points[distances.argmin()]
    return _around(y, size[0]), _around(x, size[1])


def _around(centre: float, length: int) -> slice:
    begin = min(max(int(centre) - MAX_SIDE // 2, 0), max(length - MAX_SIDE, 0))
    return slice(begin, min(begin + MAX_SIDE, length))


def _read(name: str, record: Mapping[str, Any], points: NDArray[np.float64]) -> TrainingImage:
    image = read_image(record["file_name"])
    size = image.shape[:2]
    rows, columns = crop_window(points, size)
    crowd = crowd_mask(record["annotations"], *size)
    unknown = np.zeros(size, dtype=bool) if crowd is None else crowd
    unknown = unknown[rows, columns].copy()
    # The point of a nucleus at the edge of a crop may lie beyond it.
    for edge, cut in (
        (np.s_[0, :], rows.start > 0),
        (np.s_[-1, :], rows.stop < size[0]),
        (np.s_[:, 0], columns.start > 0),
        (np.s_[:, -1], columns.stop < size[1]),
    ):
        unknown[edge] |= cut
    moved = points - (columns.start, rows.start)
    inside = ((moved >= 0) & (moved < unknown.shape[::-1])).all(axis=1)
    return TrainingImage(
        name=name,
        image=image[rows, columns].copy(),  # lets go of the rest of a large image
        points=moved[inside],
        unknown=unknown,
        whole=unknown.shape == size,
    )


def match_image(model: nn.Module, source: TrainingImage) -> MatchedImage:
    """Predict an image without its points, and see which points lie in which nuclei.

    Args:
        model: predicts native images by windows; in evaluation mode.
        source: the image.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(source.image.transpose(2, 0, 1)))
    with torch.no_grad():
        (output,) = model([{"image": tensor}])
    pred = predicted_map(output)
    return MatchedImage(source, pred, match_points(source.points, pred, source.unknown))


def choose_matched(images: list[MatchedImage]) -> dict[str, MatchedImage]:
    """The images with the smallest, the median and the largest difference.

    Args:
        images: each with a point.

    Returns:
        "smallest", "median", "largest" -> image, see :meth:`PointMatches.difference`; fewer where
        there are fewer images.
    """
    named = {each.source.name: each for each in images}
    # Fewer differences are better.
    values = {name: -each.matches.difference() for name, each in named.items()}
    words = {"best": "smallest", "median": "median", "worst": "largest"}
    return {words[word]: named[name] for word, name in best_median_worst(values).items()}

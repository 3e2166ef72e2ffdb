"""Labels without SAM: Voronoi cells and clusters of colour (Qu et al., MIDL 2019).

Shapes:
    H x W: the crop, K: points inside it, N: points of the whole transformed image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import configurable
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, find_objects
from scipy.spatial import cKDTree
from skimage.measure import label as connected_parts
from torch import Tensor

from selfsam_d2.pseudo_labels.instance_label import InstanceLabel, same_label
from selfsam_d2.pseudo_labels.prompt_label import PromptLabel
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY, LabelMaker
from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.structures.points import voronoi_cells

__all__ = ["VoronoiClusterLabels", "colour_clusters", "voronoi_cluster_label", "voronoi_edges"]

CLUSTERS = 3
COLOUR_SCALE = 0.1  # of 0 ... 255, beside distances in px
FARTHEST = 20.0  # px, distances beyond count as this
FIRST_RINGS = (5.0, 12.0)  # px, distances between which the clusters start
ITERATIONS = 20
NEAR_POINT = 5  # px, the background cluster is the one with the least of it
SMALLEST_PART = 30  # px^2, smaller parts of the nuclei cluster are dropped
CLOSING, OPENING = 5, 7  # px, a nucleus is dilated, filled and eroded by
POINT_RADIUS = 2.0  # px, around a point is nucleus
BACKGROUND_DISTANCE = 10.0  # px, nearer to a point is no background of the clusters


def voronoi_edges(owners: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels that touch another cell.

    Args:
        owners: (H, W) a number for each cell.

    Returns:
        (H, W) bool, the pixels on both sides of each border (of the four neighbours).
    """
    edges = np.zeros(owners.shape, dtype=bool)
    across = owners[:, 1:] != owners[:, :-1]
    down = owners[1:] != owners[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def colour_clusters(image: NDArray[np.uint8], distance: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """k-means of the pixels by colour and distance to the nearest point.

    The features are R/10, G/10, B/10 and the distance up to 20 px. The three clusters start from
    three rings around the points, so that nothing is drawn.

    Args:
        image: (H, W, 3) uint8 RGB.
        distance: (H, W) px.

    Returns:
        (H, W) 0, 1, 2; a cluster may be empty.
    """
    height, width = distance.shape
    features = np.empty((height * width, 4), dtype=np.float32)
    features[:, :3] = image.reshape(-1, 3) * COLOUR_SCALE
    features[:, 3] = np.minimum(distance, FARTHEST).ravel()
    start = np.digitize(distance.ravel(), FIRST_RINGS).astype(np.int32)[:, None]
    criteria = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, ITERATIONS, 1e-2)
    _, clusters, _ = cv2.kmeans(
        features, CLUSTERS, start, criteria, 1, cv2.KMEANS_USE_INITIAL_LABELS
    )
    return np.asarray(clusters).reshape(height, width)


def voronoi_cluster_label(
    image: NDArray[np.uint8], points: Tensor, context: Tensor
) -> NDArray[np.int64]:
    """One label from the two of Qu et al.: of the Voronoi cells, and of the clusters.

    Nucleus k: within 2 px of p_k, and where the nuclei cluster lies in the cell of p_k (small parts
    dropped, then closed). Background: the borders of the cells, which win over the clusters, and
    the background cluster at least 10 px from every point. All else is ignored, and so is the
    nuclei cluster in the cell of a point outside the crop. Qu et al. train on both labels with
    half the weight each; their clusters are those of a whole image, these of a crop.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (K, 2) xy, px, inside the crop.
        context: (N, 2) xy, px, all points.

    Returns:
        (H, W) int64: 0 background, 1 ... K, -1 ignored. Without any point all is background.
    """
    height, width = image.shape[:2]
    if not len(context):
        return np.zeros((height, width), dtype=np.int64)
    owners = voronoi_cells(points, context, (height, width)).cpu().numpy()
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    everywhere = np.stack([columns, rows], axis=-1)
    distance = cKDTree(context.double().cpu().numpy()).query(everywhere)[0]
    clusters = colour_clusters(image, distance)
    nuclei, background = _name_clusters(clusters, distance)
    nuclei = _refined_nuclei(nuclei, owners)
    label = np.full((height, width), IGNORE, dtype=np.int64)
    label[background & ~nuclei & (distance >= BACKGROUND_DISTANCE)] = 0
    label[nuclei] = np.where(owners >= 0, owners + 1, IGNORE)[nuclei]
    label[voronoi_edges(owners)] = 0
    at_point = (distance < POINT_RADIUS) & (owners >= 0)
    label[at_point] = owners[at_point] + 1
    return label


def _name_clusters(
    clusters: NDArray[Any], distance: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The cluster that holds most points, and of the others the one that is least near to one."""
    at_points = np.bincount(clusters[distance < 1], minlength=CLUSTERS)
    near = np.bincount(clusters[distance < NEAR_POINT], minlength=CLUSTERS)
    total = np.bincount(clusters.ravel(), weights=distance.ravel(), minlength=CLUSTERS)
    mean = total / np.maximum(np.bincount(clusters.ravel(), minlength=CLUSTERS), 1)
    nuclei = int(at_points.argmax())
    rest = [each for each in range(CLUSTERS) if each != nuclei]
    background = min(rest, key=lambda each: (near[each], -mean[each]))  # of equals the farther one
    return clusters == nuclei, clusters == background


def _refined_nuclei(nuclei: NDArray[np.bool_], owners: NDArray[Any]) -> NDArray[np.bool_]:
    """Without small parts; in each cell closed, its holes filled, and smoothed."""
    parts = connected_parts(nuclei, connectivity=2)
    kept = (np.bincount(parts.ravel()) >= SMALLEST_PART)[parts] & nuclei
    refined = np.zeros_like(nuclei)
    dilation, erosion = _disk(CLOSING), _disk(OPENING)
    for number, box in enumerate(find_objects(owners + 2), start=1):
        if box is None:
            continue
        own = np.pad(kept[box] & (owners[box] == number - 2), OPENING)
        filled = binary_fill_holes(cv2.dilate(own.view(np.uint8), dilation))
        smooth = cv2.erode(filled.astype(np.uint8), erosion).view(bool)
        refined[box] |= smooth[OPENING:-OPENING, OPENING:-OPENING]
    return refined


def _disk(radius: int) -> NDArray[np.uint8]:
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)


@PSEUDO_LABEL_REGISTRY.register()
class VoronoiClusterLabels(LabelMaker):
    """The labels of :func:`voronoi_cluster_label`, the same in every epoch; S_I is S_P.

    They need no mask of SAM, and their method has no prompt branch.
    """

    fixed_alpha = 0.0
    uses_adapted = False
    lacks_losses = frozenset({"loss_prompt", "loss_contrast"})

    @configurable
    def __init__(self) -> None:
        super().__init__()

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        del cfg
        return {}

    def prompt_label(
        self,
        image: Tensor,
        points: Tensor,
        context: Tensor,
        *,
        base: Tensor | None = None,
        adapted: Tensor | None = None,
        alpha: float = 0.0,
    ) -> PromptLabel:
        """S_P; masks and prediction are not looked at."""
        del base, adapted, alpha
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
        found = voronoi_cluster_label(pixels, points, context)
        labels = torch.from_numpy(found).to(image.device)
        nuclei = (labels > 0).float()
        return PromptLabel(
            labels=labels,
            ignore_mask=labels == IGNORE,
            raw_ids=labels.clamp(min=0),
            entropy=torch.zeros_like(nuclei),
            overlap=nuclei.long(),
            confidence=nuclei,
        )

    def instance_label(
        self, prompt_label: PromptLabel, foreground: Tensor, *, consensus: bool = True
    ) -> InstanceLabel:
        """S_P."""
        del foreground, consensus
        return same_label(prompt_label)

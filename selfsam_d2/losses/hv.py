"""Horizontal and vertical distance maps of nuclei, and the loss on them.

Shape legend:
    H, W: height and width of the crop or image, px
    N: number of nuclei in an instance map

The maps and their name are those of HoVer-Net (Graham et al., Medical Image Analysis 58, 2019).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hv_map", "hv_map_loss"]


def hv_map(instance_map: Tensor) -> Tensor:
    r"""Horizontal and vertical distances from the centroid of each nucleus, in [-1, 1].

    For a pixel :math:`(x, y)` of the nucleus :math:`k` with pixels :math:`\Omega_k` and centroid
    :math:`(\bar x_k, \bar y_k)`:

    .. math::
        d_x = x - \bar x_k, \qquad
        HV_x = \begin{cases}
            d_x / \max_{\Omega_k} \max(d_x, 0) & d_x > 0 \\
            d_x / \max_{\Omega_k} \max(-d_x, 0) & d_x < 0 \\
            0 & d_x = 0
        \end{cases}

    and the same for :math:`HV_y`. Each side has a divisor of its own, so a nucleus that is not
    symmetric reaches both -1 and 1.

    Args:
        instance_map: (H, W) integers; 0 background, 1..N nuclei (gaps allowed), -1 ignore.

    Returns:
        (2, H, W) float32 in the order x, y; 0 on background and on ignored pixels.

    Raises:
        ValueError: if ``instance_map`` is not a two-dimensional map of integers.
    """
    if instance_map.ndim != 2 or instance_map.is_floating_point() or instance_map.is_complex():
        raise ValueError(
            "Expected argument `instance_map` to be an (H, W) map of integers, but got "
            f"{tuple(instance_map.shape)} {instance_map.dtype}."
        )
    inside = instance_map > 0
    ids, nucleus = torch.unique(instance_map[inside], return_inverse=True)
    count = torch.bincount(nucleus, minlength=len(ids))
    rows, columns = inside.nonzero(as_tuple=True)
    maps = torch.zeros((2, *instance_map.shape), dtype=torch.float32, device=instance_map.device)
    for axis, position in enumerate((columns, rows)):
        maps[axis][inside] = _normalised_distance(position, nucleus, count)
    return maps


def _normalised_distance(position: Tensor, nucleus: Tensor, count: Tensor) -> Tensor:
    """Signed distance of each pixel from its nucleus's mean position, each side scaled to 1.

    Args:
        position: (P,) int64 column or row of each nucleus pixel.
        nucleus: (P,) int64 index in 0..N-1 of the nucleus that the pixel belongs to.
        count: (N,) int64 number of pixels of each nucleus.

    Returns:
        (P,) float32 in [-1, 1].
    """
    total = torch.zeros_like(count).index_add_(0, nucleus, position)
    # The distance times the number of pixels is a whole number. The factor cancels in the
    # division, so a pixel on the centroid gives 0 exactly and rounding can't turn it into 1.
    distance = position * count[nucleus] - total[nucleus]
    sides = []
    for side in (distance.clamp(min=0), distance.neg().clamp(min=0)):
        # The floor of 1 is only reached by a nucleus without extent, where the side is 0.
        largest = torch.ones_like(count).scatter_reduce_(0, nucleus, side, reduce="amax")
        sides.append(side.float() / largest[nucleus].float())
    return sides[0] - sides[1]


def hv_map_loss(
    prediction: Tensor, target: Tensor, foreground: Tensor, ignore_mask: Tensor
) -> Tensor:
    r"""L1 distance of HV maps: mean over the foreground plus mean over the background.

    .. math::
        L_D = \frac{1}{2 |F|} \sum_{j \in F} \lVert D_j - HV_j \rVert_1
            + \frac{1}{2 |G|} \sum_{j \in G} \lVert D_j - HV_j \rVert_1

    with :math:`F` the foreground and :math:`G` the background pixels that are not ignored; the 2
    is the number of maps. A sum over no pixel is a zero that keeps the graph.

    Args:
        prediction: :math:`D`, (2, H, W) floats in the order x, y.
        target: :math:`HV`, (2, H, W) floats in [-1, 1], from :func:`hv_map`.
        foreground: (H, W) bool, True on nuclei.
        ignore_mask: (H, W) bool, True = left out of both means.

    Returns:
        Scalar, at least float32.

    Raises:
        ValueError: if the shapes don't match or a mask is not bool.
    """
    _check_loss_arguments(prediction, target, foreground, ignore_mask)
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    kept = ~ignore_mask
    loss = prediction.new_zeros((), dtype=dtype)
    for region in (foreground & kept, ~foreground & kept):
        error = (prediction[:, region].to(dtype) - target[:, region].to(dtype)).abs()
        loss = loss + error.sum() / max(error.numel(), 1)
    return loss


def _check_loss_arguments(
    prediction: Tensor, target: Tensor, foreground: Tensor, ignore_mask: Tensor
) -> None:
    if prediction.ndim != 3 or prediction.shape[0] != 2:
        raise ValueError(
            "Expected argument `prediction` to be of shape (2, H, W), but got "
            f"{tuple(prediction.shape)}."
        )
    if target.shape != prediction.shape:
        raise ValueError(
            "Expected argument `target` to have the shape of `prediction`, "
            f"{tuple(prediction.shape)}, but got {tuple(target.shape)}."
        )
    for name, mask in (("foreground", foreground), ("ignore_mask", ignore_mask)):
        if mask.dtype != torch.bool or mask.shape != prediction.shape[1:]:
            raise ValueError(
                f"Expected argument `{name}` to be bool of shape {tuple(prediction.shape[1:])}, "
                f"but got {mask.dtype} {tuple(mask.shape)}."
            )

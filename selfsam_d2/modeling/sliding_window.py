"""Prediction of an image of any size by overlapping square windows.

Shape legend:
    H, W: height and width of the image, px
    w: side of a window, px
    B: windows in a batch
    C: channels of the prediction
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from selfsam_d2.errors import InputError

__all__ = [
    "BLENDS",
    "decode_by_windows",
    "keep_centres",
    "mirror_to_window",
    "predict_by_windows",
    "window_grid",
]

BLENDS = ("centre", "blend")


def window_grid(height: int, width: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Top left corners of the windows that cover an image.

    Neighbouring windows share `overlap` px; the last one of a row or column is shifted inwards to
    end with the image, so it may share more. A side not longer than the window has one window.

    Args:
        height: H, px.
        width: W, px.
        window: w, px.
        overlap: px shared by neighbours, in [0, w).

    Returns:
        (y, x) of each window, row by row, each pair once.

    Raises:
        InputError: if a size is below 1 or the overlap is not in [0, w).
    """
    if window < 1:
        raise InputError("window", f"expected at least 1 pixel, but got {window}")
    if not 0 <= overlap < window:
        raise InputError("overlap", f"expected 0 to window - 1 = {window - 1}, but got {overlap}")
    if min(height, width) < 1:
        raise InputError("image", f"expected at least 1 x 1 pixel, but got {height} x {width}")
    columns = _starts(width, window, window - overlap)
    return [(y, x) for y in _starts(height, window, window - overlap) for x in columns]


def _starts(size: int, window: int, step: int) -> list[int]:
    last = max(size - window, 0)
    return [*range(0, last, step), last]


def predict_by_windows(
    image: Tensor,
    predict: Callable[[Tensor], Tensor],
    window: int,
    overlap: int,
    blend: str = "centre",
    batch_size: int = 4,
) -> Tensor:
    r"""Predict an image window by window and put the predictions together.

    ``centre``: each pixel is taken from the window whose centre is nearest to it (the first one
    on a tie), so the borders of windows, where context is missing, are left out.

    ``blend``: mean over all windows that hold the pixel, with the weight of a pixel at offset
    :math:`(i, j)` in its window

    .. math:: \sin^2\!\Big(\pi \frac{i + 0.5}{w}\Big) \, \sin^2\!\Big(\pi \frac{j + 0.5}{w}\Big)

    which is smooth, largest in the middle and above 0 everywhere.

    An image smaller than the window is mirrored beyond its borders to fill it, as evenly on both
    sides as can be, and the prediction is cut back.

    Args:
        image: (3, H, W), any type; more or fewer channels are passed on as they are.
        predict: (B, 3, w, w) windows of the image's type -> (B, C, w, w) predictions.
        window: w, px.
        overlap: px shared by neighbouring windows, in [0, w).
        blend: ``centre`` or ``blend``.
        batch_size: B, windows per call of `predict`; the last batch may be smaller.

    Returns:
        (C, H, W) on the device of the predictions; of their type (``blend``: at least float32).

    Raises:
        InputError: if a setting is out of its range.
        ValueError: if `image` is not (C, H, W) or `predict` returns another shape than promised.
    """
    if blend not in BLENDS:
        raise InputError("blend", f"expected one of {', '.join(BLENDS)}, but got {blend}")
    if batch_size < 1:
        raise InputError("batch_size", f"expected at least 1, but got {batch_size}")
    if image.ndim != 3:
        raise ValueError(f"Expected argument `image` to be (C, H, W), but got {image.shape}.")
    height, width = image.shape[1:]
    grid = window_grid(height, width, window, overlap)
    padded, (top, left) = mirror_to_window(image, window)
    predictions = _predictions(padded, predict, grid, window, batch_size)
    joined = _JOINS[blend](predictions, grid, (padded.shape[1], padded.shape[2]), window)
    return joined[:, top : top + height, left : left + width]


def decode_by_windows(
    embedding: Tensor,
    decode: Callable[[Tensor], Tensor],
    window: int,
    overlap: int,
    blend: str = "centre",
    batch_size: int = 4,
) -> Tensor:
    """Decode an image embedding that is larger than the decoder was trained on.

    Args:
        embedding: (D, h, w), no side shorter than the window.
        decode: (B, D, t, t) -> (B, C, s t, s t) with one s for all.
        window: t, side of a window in tokens.
        overlap: tokens shared by neighbouring windows, in [0, t).
        blend: ``centre`` or ``blend``, see :func:`predict_by_windows`.
        batch_size: B.

    Returns:
        (C, s h, s w).
    """
    height, width = embedding.shape[1:]
    grid = window_grid(height, width, window, overlap)
    decoded = [
        decode(torch.stack([embedding[:, y : y + window, x : x + window] for y, x in corners]))
        for corners in (grid[i : i + batch_size] for i in range(0, len(grid), batch_size))
    ]
    scale = decoded[0].shape[-1] // window
    scaled = [(scale * y, scale * x) for y, x in grid]
    predictions = (each for batch in decoded for each in batch)
    return _JOINS[blend](predictions, scaled, (scale * height, scale * width), scale * window)


def mirror_to_window(image: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Mirror the sides that are shorter than the window; also the offset of the image in it."""
    offsets = []
    for axis in (1, 2):
        size = image.shape[axis]
        before = max(window - size, 0) // 2
        offsets.append(before)
        if size < window:
            position = torch.arange(-before, window - before, device=image.device)
            image = image.index_select(axis, _reflect(position, size))
    return image, (offsets[0], offsets[1])


def _reflect(position: Tensor, size: int) -> Tensor:
    """Mirror positions at the first and last pixel, back and forth, into [0, size)."""
    period = max(2 * (size - 1), 1)
    folded = position.remainder(period)
    return torch.minimum(folded, (period - folded).remainder(period))


def _predictions(
    image: Tensor,
    predict: Callable[[Tensor], Tensor],
    grid: list[tuple[int, int]],
    window: int,
    batch_size: int,
) -> Iterator[Tensor]:
    """The (C, w, w) prediction of each window, in the order of the grid."""
    for first in range(0, len(grid), batch_size):
        corners = grid[first : first + batch_size]
        batch = torch.stack([image[:, y : y + window, x : x + window] for y, x in corners])
        output = predict(batch)
        if output.ndim != 4 or (len(output), *output.shape[2:]) != (len(batch), window, window):
            raise ValueError(
                f"Expected `predict` to return {(len(batch), 'C', window, window)}, but got "
                f"{tuple(output.shape)}."
            )
        yield from output


def keep_centres(
    predictions: Iterator[Tensor],
    grid: list[tuple[int, int]],
    size: tuple[int, int],
    window: int,
) -> Tensor:
    """Put each pixel of the window with the nearest centre into its place: (C, H, W)."""
    # On a grid the nearest centre is the nearest row of centres and the nearest column of them.
    rows = _nearest_spans(sorted({y for y, _ in grid}), size[0], window)
    columns = _nearest_spans(sorted({x for _, x in grid}), size[1], window)
    joined: Tensor | None = None
    for (y, x), prediction in zip(grid, predictions, strict=True):
        if joined is None:
            joined = prediction.new_empty((prediction.shape[0], *size))
        (top, bottom), (left, right) = rows[y], columns[x]
        kept = prediction[:, top - y : bottom - y, left - x : right - x]
        joined[:, top:bottom, left:right] = kept
    assert joined is not None  # a grid has at least one window
    return joined


def _nearest_spans(starts: list[int], size: int, window: int) -> dict[int, tuple[int, int]]:
    """Half-open span of positions for which each window has the nearest centre, along one axis."""
    # Pixel p has its centre at p + 0.5 and lies nearer to the later one of two windows beyond
    # the middle of their centres, (a + b + w) / 2. On the middle the first window keeps it.
    edges = [0, *((a + b + window + 1) // 2 for a, b in pairwise(starts)), size]
    return {start: (edges[i], edges[i + 1]) for i, start in enumerate(starts)}


def _weighted_mean(
    predictions: Iterator[Tensor],
    grid: list[tuple[int, int]],
    size: tuple[int, int],
    window: int,
) -> Tensor:
    """Mean of the windows with a weight that falls towards their borders: (C, H, W)."""
    total: Tensor | None = None
    for (y, x), prediction in zip(grid, predictions, strict=True):
        if total is None:
            dtype = torch.promote_types(prediction.dtype, torch.float32)
            position = torch.arange(window, dtype=dtype, device=prediction.device)
            side = torch.sin(torch.pi * (position + 0.5) / window) ** 2
            weight = torch.outer(side, side)
            total = weight.new_zeros((prediction.shape[0], *size))
            weights = weight.new_zeros(size)
        total[:, y : y + window, x : x + window] += prediction * weight
        weights[y : y + window, x : x + window] += weight
    assert total is not None  # a grid has at least one window
    return total / weights


_JOINS = {"centre": keep_centres, "blend": _weighted_mean}

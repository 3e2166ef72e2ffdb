from __future__ import annotations
import torch
from torch.nn import functional as F


def window_grid(height, width, window, overlap):
    def starts(n):
        if n <= window:
            return [0]
        s = list(range(0, n - window, window - overlap))
        return s + [n - window]
    return [(y, x) for y in starts(height) for x in starts(width)]


def predict_by_windows(image, predict, *, window, overlap, blend="centre", batch_size=4):
    h, w = image.shape[1:]
    pad = (0, max(0, window - w), 0, max(0, window - h))
    im = F.pad(image[None].float(), pad, mode="replicate")[0].to(image.dtype) if any(pad) else image
    H, W = im.shape[1:]
    grid = window_grid(H, W, window, overlap)
    a = torch.arange(window) + 0.5
    near = torch.minimum(a, window - a)
    wt = (near[:, None] * near[None]) ** (2 if blend == "blend" else 12)
    wt = (wt / wt.max()).double()
    out = den = None
    for i in range(0, len(grid), batch_size):
        g = grid[i:i + batch_size]
        o = predict(torch.stack([im[:, y:y + window, x:x + window] for y, x in g])).double()
        if out is None:
            out = torch.zeros(o.shape[1], H, W, dtype=torch.float64)
            den = torch.zeros(H, W, dtype=torch.float64)
        for (y, x), m in zip(g, o):
            out[:, y:y + window, x:x + window] += m * wt
            den[y:y + window, x:x + window] += wt
    return (out / den)[:, :h, :w].float()

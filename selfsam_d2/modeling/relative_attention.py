r"""Attention with decomposed relative positions that never builds the N x N matrix.

SAM adds to the score of query i and key j a term for their rows and one for their columns:

.. math:: s_{ij} = \frac{q_i \cdot k_j}{\sqrt d}
    + q_i \cdot R^h_{y_i y_j} + q_i \cdot R^w_{x_i x_j}

The terms depend on the key's row and column only, so they are products with one-hot vectors:

.. math:: q'_i = [q_i / \sqrt d,\ q_i R^h_{y_i},\ q_i R^w_{x_i}], \quad
    k'_j = [k_j,\ e_{y_j},\ e_{x_j}], \quad s_{ij} = q'_i \cdot k'_j

which is plain attention, exact, for the fused kernels of PyTorch.

Shape legend:
    B: images or windows, A: heads, H, W: token grid, N = H W, d: channels of a head
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["relative_attention"]


def relative_attention(
    query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor
) -> Tensor:
    """Attention over a grid of tokens, see the head of this module.

    Args:
        query: (B, A, N, d), not scaled.
        key: (B, A, N, d).
        value: (B, A, N, d).
        rows: (H, H, d) R^h of query row and key row.
        columns: (W, W, d) R^w of query column and key column.

    Returns:
        (B, A, N, d).
    """
    batch, heads, _, channels = query.shape
    height, width = len(rows), len(columns)
    grid = query.unflatten(2, (height, width))
    scores = [
        query * channels**-0.5,
        torch.einsum("bayxd,ykd->bayxk", grid, rows).flatten(2, 3),
        torch.einsum("bayxd,xkd->bayxk", grid, columns).flatten(2, 3),
    ]
    placed = torch.cat([key, _one_hot(height, width, key).expand(batch, heads, -1, -1)], dim=-1)
    # The fused CPU kernel wants values as wide as the queries.
    padded = F.pad(value, (0, height + width))
    attended = F.scaled_dot_product_attention(torch.cat(scores, dim=-1), placed, padded, scale=1.0)
    return attended[..., :channels]


def _one_hot(height: int, width: int, like: Tensor) -> Tensor:
    """(N, H + W): the row and the column of each token."""
    rows = torch.eye(height, dtype=like.dtype, device=like.device)
    columns = torch.eye(width, dtype=like.dtype, device=like.device)
    return torch.cat([rows.repeat_interleave(width, dim=0), columns.repeat(height, 1)], dim=1)

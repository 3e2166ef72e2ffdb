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

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

__all__ = ["relative_attention"]


def relative_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: Tensor,
    columns: Tensor,
    *,
    compact: bool = True,
) -> Tensor:
    """Attention over a grid of tokens, see the head of this module.

    Args:
        query: (B, A, N, d), not scaled.
        key: (B, A, N, d).
        value: (B, A, N, d).
        rows: (H, H, d) R^h of query row and key row.
        columns: (W, W, d) R^w of query column and key column.
        compact: keep q, k and v for the backward pass and make q' and k' again there, which takes
            little time and spares most of the memory. Not inside ``torch.utils.checkpoint``,
            which could then not discard them.

    Returns:
        (B, A, N, d).
    """
    channels = query.shape[-1]
    # Under autocast too: the backward pass, which makes q' again, runs without it.
    rows, columns = rows.to(query.dtype), columns.to(query.dtype)
    inputs = tuple(make() for make in _makers(query, key, value, rows, columns))
    if not compact:
        return _attend(*inputs)[..., :channels]
    detached = (each.detach() for each in (query, key, value, rows, columns))
    saved = _Saved(inputs, _makers(*detached))
    with saved_tensors_hooks(saved.pack, _unpack):
        attended = _attend(*inputs)
    saved.narrow(attended, channels)
    return attended[..., :channels]


def _makers(
    query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor
) -> tuple[Callable[[], Tensor], ...]:
    """What makes the three inputs of the kernel."""
    height, width = len(rows), len(columns)
    return (
        partial(_fold_query, query, rows, columns),
        partial(_place_key, key, height, width),
        # The fused CPU kernel wants values as wide as the queries.
        partial(F.pad, value, (0, height + width)),
    )


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)


class _Saved:
    """What a fused kernel saves for its backward pass, in the least memory.

    Args:
        inputs: of the kernel.
        makers: of the same, from what is kept anyway.
    """

    def __init__(
        self, inputs: tuple[Tensor, ...], makers: tuple[Callable[[], Tensor], ...]
    ) -> None:
        self._makers = {each.data_ptr(): make for each, make in zip(inputs, makers, strict=True)}
        self._others: list[list[Tensor | Callable[[], Tensor]]] = []

    def pack(self, tensor: Tensor) -> Any:
        # A kernel may save something else than its inputs, such as copies in half precision.
        if tensor.data_ptr() in self._makers:
            return self._makers[tensor.data_ptr()]
        self._others.append([tensor])
        return self._others[-1]

    def narrow(self, output: Tensor, channels: int) -> None:
        """Keep of the output what values without their padding give; the rest is 0."""
        for holder in self._others:
            (held,) = holder
            if isinstance(held, Tensor) and held.data_ptr() == output.data_ptr():
                kept = held[..., :channels].contiguous()
                holder[0] = partial(F.pad, kept, (0, held.shape[-1] - channels))
        # The graph keeps the packed values; nothing here may keep the inputs.
        self._makers, self._others = {}, []


@torch.no_grad()
def _unpack(packed: Any) -> Tensor:
    if isinstance(packed, list):
        (packed,) = packed
    made: Tensor = packed if isinstance(packed, Tensor) else packed()
    return made


def _fold_query(query: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """q' (B, A, N, d + H + W)."""
    grid = query.unflatten(2, (len(rows), len(columns)))
    scores = [
        query * query.shape[-1] ** -0.5,
        torch.einsum("bayxd,ykd->bayxk", grid, rows).flatten(2, 3),
        torch.einsum("bayxd,xkd->bayxk", grid, columns).flatten(2, 3),
    ]
    return torch.cat(scores, dim=-1)


def _place_key(key: Tensor, height: int, width: int) -> Tensor:
    """k' (B, A, N, d + H + W)."""
    one_hot = _one_hot(height, width, key).expand(*key.shape[:2], -1, -1)
    return torch.cat([key, one_hot], dim=-1)


def _one_hot(height: int, width: int, like: Tensor) -> Tensor:
    """(N, H + W): the row and the column of each token."""
    rows = torch.eye(height, dtype=like.dtype, device=like.device)
    columns = torch.eye(width, dtype=like.dtype, device=like.device)
    return torch.cat([rows.repeat_interleave(width, dim=0), columns.repeat(height, 1)], dim=1)

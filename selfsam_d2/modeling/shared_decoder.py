"""SAM's mask decoder for many prompts of one image, with what the prompts share computed once.

Every prompt sees the same image embedding, so its first projections are the same for all of them.
And a projection that is followed by a product with a few tokens can be folded into those tokens:

.. math:: (x W_q + b_q) k^T = x (W_q k^T) + b_q k^T

which spares the (K, N, 128) queries, keys and values of the image. Both are exact.

Shape legend:
    K: prompts, N: image tokens (h w), T: output and prompt tokens of one prompt, H: heads,
    c: channels of a head, C: channels of the embedding (256)
"""

from __future__ import annotations

import math

import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

__all__ = ["decode_masks"]

# Bytes of the largest tensor of one pass. Larger passes are not faster on a CPU: what they work on
# does not stay in its caches, and above 32 MB the C library maps it anew each time.
CHUNK_BYTES = 16 * 2**20
GPU_CHUNK_BYTES = 256 * 2**20  # a GPU wants more work at a time
# Maps of C channels on all image tokens that a prompt leaves for the backward pass: 4 in each of
# the two layers and 8 in the up-scaling, whose maps hold two channels for one.
SAVED_MAPS = 16


def decode_masks(
    decoder: MaskDecoder,
    embedding: Tensor,
    position: Tensor,
    prompts: Tensor,
    mask_token: int = 0,
    memory: float = math.inf,
) -> Tensor:
    """Mask logits of K prompts on one image, as :meth:`MaskDecoder.predict_masks` gives them.

    Args:
        decoder: SAM's.
        embedding: (C, h, w) image embedding plus dense prompt.
        position: (C, h, w) SAM's positional encoding of the grid.
        prompts: (K, P, C) sparse prompt tokens, K >= 1.
        mask_token: which of the decoder's mask tokens is read.
        memory: bytes that all prompts together may hold for the backward pass, about. The prompts
            beyond are computed again there: the same gradients.

    Returns:
        (K, 4h, 4w).
    """
    map_bytes = embedding.numel() * embedding.element_size()
    # The up-scaled maps hold twice the channels on each image token.
    largest = GPU_CHUNK_BYTES if embedding.is_cuda else CHUNK_BYTES
    chunks = prompts.split(max(1, largest // (2 * map_bytes)))
    logits, held = [], 0
    for each in chunks:
        held += SAVED_MAPS * map_bytes * len(each)
        arguments = (decoder, embedding, position, each, mask_token)
        if held <= memory or not torch.is_grad_enabled():
            logits.append(_decode(*arguments))
        else:
            logits.append(checkpoint(_decode, *arguments, use_reentrant=False))
    return torch.cat(logits)


def _decode(
    decoder: MaskDecoder, embedding: Tensor, position: Tensor, prompts: Tensor, mask_token: int
) -> Tensor:
    height, width = embedding.shape[-2:]
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output_tokens.expand(len(prompts), -1, -1), prompts], dim=1)
    read = decoder.iou_token.num_embeddings + mask_token
    queries, keys = _two_way_transformer(
        decoder.transformer,
        embedding.flatten(1).T[None],
        position.flatten(1).T[None],
        tokens,
        read,
    )
    weights = decoder.output_hypernetworks_mlps[mask_token](queries)
    return _upscale_and_read(decoder.output_upscaling, keys, weights, (height, width))


def _two_way_transformer(
    transformer: TwoWayTransformer, keys: Tensor, position: Tensor, tokens: Tensor, read: int
) -> tuple[Tensor, Tensor]:
    # keys (1, N, C) -> the token `read` of each prompt (K, C) and the keys (K, N, C).
    queries = tokens
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(q=queries, k=queries, v=queries)
        else:
            q = queries + tokens
            queries = queries + layer.self_attn(q=q, k=q, v=queries)
        queries = layer.norm1(queries)
        placed = keys + position
        queries = layer.norm2(
            queries
            + _tokens_to_image(layer.cross_attn_token_to_image, queries + tokens, placed, keys)
        )
        queries = layer.norm3(queries + layer.mlp(queries))
        keys = layer.norm4(
            keys
            + _image_to_tokens(layer.cross_attn_image_to_token, placed, queries + tokens, queries)
        )
    # Of the last attention only the token that makes the mask is needed.
    queries, tokens = queries[:, read : read + 1], tokens[:, read : read + 1]
    final = transformer.final_attn_token_to_image
    queries = queries + _tokens_to_image(final, queries + tokens, keys + position, keys)
    return transformer.norm_final_attn(queries)[:, 0], keys


def _tokens_to_image(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``attention(q, k, v)`` with q (K, T, C) and k, v (K or 1, N, C): (K, T, C)."""
    count, length, channels = q.shape
    heads = attention.num_heads
    folded_k = attention.k_proj.weight.unflatten(0, (heads, -1))
    query = attention.q_proj(q).unflatten(-1, (heads, -1))
    query = torch.einsum("kthc,hcd->kthd", query, folded_k) / math.sqrt(folded_k.shape[1])
    # The bias of k_proj adds the same to every score of a query, which softmax does not see.
    rows = query.reshape(*_batch(k, count, length * heads), channels)
    attended = (rows @ k.transpose(1, 2)).softmax(dim=-1) @ v
    attended = attended.reshape(count, length, heads, channels)
    folded_v = attention.v_proj.weight.unflatten(0, (heads, -1))
    values = torch.einsum("kthd,hcd->kthc", attended, folded_v).flatten(2)
    return attention.out_proj(values + attention.v_proj.bias)


def _image_to_tokens(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``attention(q, k, v)`` with q (K or 1, N, C) and k, v (K, T, C): (K, N, C)."""
    heads = attention.num_heads
    folded_q = attention.q_proj.weight.unflatten(0, (heads, -1))
    scale = 1 / math.sqrt(folded_q.shape[1])
    key = attention.k_proj(k).unflatten(-1, (heads, -1)) * scale
    columns = torch.einsum("kthc,hcd->kdht", key, folded_q).flatten(2)
    offset = torch.einsum("kthc,hc->kht", key, attention.q_proj.bias.unflatten(0, (heads, -1)))
    scores = torch.baddbmm(offset.flatten(1)[:, None], q.expand(len(k), -1, -1), columns)
    weights = scores.unflatten(-1, (heads, -1)).softmax(dim=-1).flatten(2)
    folded_out = attention.out_proj.weight.unflatten(1, (heads, -1))
    value = attention.v_proj(v).unflatten(-1, (heads, -1))
    rows = torch.einsum("kthc,dhc->khtd", value, folded_out).flatten(1, 2)
    return torch.baddbmm(attention.out_proj.bias, weights, rows)


def _batch(shared: Tensor, count: int, rows: int) -> tuple[int, int]:
    # With one image for all prompts, all their rows are one matrix.
    return (1, count * rows) if len(shared) == 1 else (count, rows)


def _upscale_and_read(
    upscaling: nn.Sequential, keys: Tensor, weights: Tensor, size: tuple[int, int]
) -> Tensor:
    """The 4x up-scaling of keys (K, N, C), read with weights (K, c): (K, 4h, 4w).

    Its transposed convolutions have kernel and stride 2: each is a linear map of one position to
    four, so channels stay last and nothing is moved until the end.
    """
    first, norm, activation, second, last_activation = upscaling
    assert isinstance(norm, LayerNorm2d)
    maps = _double(first, keys)
    maps = F.layer_norm(maps, maps.shape[-1:], norm.weight, norm.bias, norm.eps)
    maps = last_activation(_double(second, activation(maps)))
    logits = (maps.flatten(1, -2) @ weights[..., None]).view(len(keys), *size, 2, 2, 2, 2)
    height, width = size
    return logits.permute(0, 1, 3, 5, 2, 4, 6).reshape(len(keys), 4 * height, 4 * width)


def _double(convolution: nn.Module, maps: Tensor) -> Tensor:
    """(..., C) -> (..., 4, C'): the four positions in the order of rows."""
    assert isinstance(convolution, nn.ConvTranspose2d)
    assert convolution.bias is not None
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    bias = convolution.bias.repeat(4)
    return F.linear(maps, weight, bias).unflatten(-1, (4, -1))

"""Decoding many prompts against one shared image gives what segment-anything's decoder gives."""

import pytest
import torch

from selfsam_d2.modeling import shared_decoder
from selfsam_d2.modeling.sam_decoder import build_mask_decoder
from selfsam_d2.modeling.shared_decoder import decode_masks


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    decoder = build_mask_decoder()
    for parameter in decoder.parameters():
        # Norms and biases away from 1 and 0, so that leaving one out would be seen.
        parameter.data += 0.1 * torch.randn_like(parameter)
    return decoder.requires_grad_(False).double()


def reference(decoder, embedding, position, prompts, mask_token):
    masks, _ = decoder.predict_masks(
        image_embeddings=embedding[None],
        image_pe=position[None],
        sparse_prompt_embeddings=prompts,
        dense_prompt_embeddings=torch.zeros(len(prompts), *embedding.shape, dtype=torch.double),
    )
    return masks[:, mask_token]


@pytest.mark.parametrize("mask_token", [0, 2])
@pytest.mark.parametrize(("count", "size", "length"), [(1, (4, 4), 2), (5, (6, 3), 7)])
def test_masks_and_gradients_equal_segment_anything(decoder, count, size, length, mask_token):
    embedding = torch.randn(256, *size, dtype=torch.double, requires_grad=True)
    position = torch.randn(256, *size, dtype=torch.double)
    prompts = torch.randn(count, length, 256, dtype=torch.double)
    expected = reference(decoder, embedding, position, prompts, mask_token)
    found = decode_masks(decoder, embedding, position, prompts, mask_token)
    assert found.shape == (count, 4 * size[0], 4 * size[1])
    assert torch.allclose(found, expected, rtol=0, atol=1e-9 * expected.abs().max().item())
    weight = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), embedding)
    (got,) = torch.autograd.grad((found * weight).sum(), embedding)
    assert torch.allclose(got, wanted, rtol=0, atol=1e-9 * float(wanted.abs().max()))


@pytest.mark.parametrize(("memory", "again"), [(0, 5), (2, 3), (4.5, 1), (5, 0)])
def test_prompts_beyond_the_memory_are_decoded_again(decoder, monkeypatch, memory, again):
    monkeypatch.setattr(shared_decoder, "CHUNK_BYTES", 1)  # one prompt at a time
    embedding = torch.randn(256, 4, 4, dtype=torch.double, requires_grad=True)
    position = torch.randn(256, 4, 4, dtype=torch.double)
    prompts = torch.randn(5, 2, 256, dtype=torch.double)
    expected = decode_masks(decoder, embedding, position, prompts)
    (wanted,) = torch.autograd.grad(expected.square().sum(), embedding)
    calls = []
    decode = shared_decoder._decode

    def spy(*arguments):
        calls.append(arguments)
        return decode(*arguments)

    monkeypatch.setattr(shared_decoder, "_decode", spy)
    per_prompt = shared_decoder.SAVED_MAPS * embedding.numel() * 8
    found = decode_masks(decoder, embedding, position, prompts, memory=memory * per_prompt)
    assert len(calls) == 5
    (got,) = torch.autograd.grad(found.square().sum(), embedding)
    assert len(calls) == 5 + again
    assert torch.equal(found, expected)
    assert torch.allclose(got, wanted, rtol=1e-12, atol=0)
    calls.clear()
    with torch.no_grad():
        decode_masks(decoder, embedding, position, prompts, memory=0)
    assert len(calls) == 5


def test_chunks_change_nothing(decoder, monkeypatch):
    embedding, position = torch.randn(2, 256, 4, 4, dtype=torch.double)
    prompts = torch.randn(5, 2, 256, dtype=torch.double)
    together = decode_masks(decoder, embedding, position, prompts)
    monkeypatch.setattr(shared_decoder, "CHUNK_BYTES", 2 * (2 * 256 * 16 * 8))
    sizes = []
    decode = shared_decoder._decode

    def spy(*arguments):
        sizes.append(len(arguments[3]))
        return decode(*arguments)

    monkeypatch.setattr(shared_decoder, "_decode", spy)
    chunked = decode_masks(decoder, embedding, position, prompts)
    assert sizes == [2, 2, 1]
    assert torch.allclose(chunked, together, rtol=1e-9, atol=1e-9)


def test_a_prompt_is_decoded_as_if_it_were_alone(decoder):
    embedding, position = torch.randn(2, 256, 4, 4, dtype=torch.double)
    prompts = torch.randn(3, 2, 256, dtype=torch.double)
    together = decode_masks(decoder, embedding, position, prompts)
    alone = [decode_masks(decoder, embedding, position, prompt[None]) for prompt in prompts]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-9, atol=1e-9)

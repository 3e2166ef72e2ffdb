"""Prompts against segment-anything's own predictor frame."""

import pytest
import torch
from segment_anything.modeling import PromptEncoder

from selfsam_d2.modeling.prompter import Prompter
from selfsam_d2.modeling.sam_decoder import build_mask_decoder, build_prompt_encoder


def make(**options):
    torch.manual_seed(0)
    return Prompter(
        prompt_encoder=build_prompt_encoder(128), mask_decoder=build_mask_decoder(), **options
    ).eval()


POINTS = torch.tensor([[10.0, 20.0], [30.5, 4.25]])
CONTEXT = torch.cat([POINTS, torch.tensor([[-4.0, 8.0], [60.0, 70.0], [33.0, 6.0]])])


def test_points_land_where_sam_wants_them():
    prompter = make()
    tokens = prompter.encode(POINTS, CONTEXT, 64, [0])
    # SAM counts pixel indices and adds the half pixel itself: index = 2 x - 0.5 at twice the size.
    expected, _ = prompter.prompt_encoder(
        points=((2 * POINTS - 0.5)[:, None], torch.ones(2, 1)), boxes=None, masks=None
    )
    assert torch.equal(tokens, expected)


def test_a_position_is_encoded_as_its_share_of_the_image():
    encoder: PromptEncoder = make().prompt_encoder
    tokens = make().encode(torch.tensor([[32.0, 16.0]]), torch.tensor([[32.0, 16.0]]), 64, [0])
    share = torch.tensor([[[0.5, 0.25]]])
    position = encoder.pe_layer._pe_encoding(share)[0, 0]
    assert torch.allclose(tokens[0, 0], position + encoder.point_embeddings[1].weight[0])


def test_nearest_negatives_are_the_nearest_other_points():
    prompter = make(num_negatives=2)
    tokens = prompter.encode(POINTS, CONTEXT, 64, [0])
    negatives = torch.stack([CONTEXT[[2, 1]], CONTEXT[[4, 0]]])
    coordinates = torch.cat([POINTS[:, None], negatives], dim=1) * 2 - 0.5
    labels = torch.tensor([[1.0, 0, 0]] * 2)
    expected, _ = prompter.prompt_encoder(points=(coordinates, labels), boxes=None, masks=None)
    assert torch.equal(tokens, expected)


def test_random_negatives_are_other_points_and_fixed_by_the_seed():
    prompter = make(num_negatives=4, negative_choice="random")
    found = prompter._negatives(POINTS, CONTEXT, [3])
    for own, others in zip(POINTS, found, strict=True):
        rows = {tuple(row) for row in others.tolist()}
        assert len(rows) == 4
        assert tuple(own.tolist()) not in rows
        assert rows <= {tuple(row) for row in CONTEXT.tolist()}
    assert torch.equal(found, prompter._negatives(POINTS, CONTEXT, [3]))


def test_the_spacing_box_is_a_box_prompt():
    prompter = make(spacing_box=True)
    tokens = prompter.encode(POINTS, CONTEXT, 64, [0])
    assert tokens.shape == (2, 3, 256)
    assert prompter.encode(POINTS[:1], POINTS[:1], 64, [0]).shape == (1, 3, 256)


def test_masks_of_the_single_token_are_sams_own():
    prompter = make()
    embedding = torch.randn(1, 256, 8, 8)
    tokens = prompter.encode(POINTS, CONTEXT, 64, [0])
    _, dense = prompter.prompt_encoder(
        points=((2 * POINTS - 0.5)[:, None], torch.ones(2, 1)), boxes=None, masks=None
    )
    expected, _ = prompter.mask_decoder(
        image_embeddings=embedding,
        image_pe=prompter.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=tokens,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    assert torch.allclose(prompter(embedding, tokens), expected[:, 0], atol=1e-5)


def test_no_points_keep_the_graph():
    embedding = torch.randn(1, 256, 8, 8, requires_grad=True)
    prompter = make(spacing_box=True, num_negatives=2)
    tokens = prompter.encode(torch.zeros(0, 2), torch.zeros(0, 2), 64, [0])
    masks = prompter(embedding, tokens)
    assert masks.shape == (0, 32, 32)
    masks.sum().backward()
    assert embedding.grad is not None


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="farthest"):
        make(negative_choice="farthest")

"""A checkpoint of segment-anything's own model, loaded by name of its keys, gives its results."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from segment_anything import sam_model_registry

from selfsam_d2.engine.setup import load_config
from selfsam_d2.modeling.weights import load_weights
from selfsam_d2.structures.points import spacing_boxes

CONFIG = str(Path(__file__).parents[2] / "configs" / "monuseg_vitb.yaml")
CROP = 224


@pytest.fixture(scope="module")
def sam(randomise):
    """segment-anything's ViT-B with random weights; the official ones are not ours to bring."""
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]().eval()
    randomise(sam)
    return sam


@pytest.fixture(scope="module")
def checkpoint(sam, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "sam_vit_b.pth"
    torch.save(sam.state_dict(), path)
    return path


def build_ours(checkpoint, side, box):
    overrides = {"MODEL.SAM.INPUT_SIDE": side, "PROMPT.SPACING_BOX": box, "MODEL.DEVICE": "cpu"}
    cfg = load_config(CONFIG, [str(each) for pair in overrides.items() for each in pair])
    model = build_model(cfg).eval()
    report = load_weights(model, checkpoint)
    assert all(
        key.startswith(("backbone.adapter", "contrast_head.")) for key in report.not_loaded
    ), report.not_loaded
    return model


@torch.no_grad()
def expected_masks(sam, embedding, points, boxes, side):
    """Low-res mask logits of each prompt from segment-anything's own parts."""
    grid = side // 16
    # At another side only the grid of the prompt encoder changes.
    sam.prompt_encoder.input_image_size = (side, side)
    sam.prompt_encoder.image_embedding_size = (grid, grid)
    labels = torch.ones(len(points), 1)
    sparse, dense = sam.prompt_encoder(points=(points[:, None], labels), boxes=boxes, masks=None)
    masks, _ = sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return masks[:, 0]


@pytest.mark.parametrize(("side", "box"), [(1024, False), (448, True)])
@torch.no_grad()
def test_vit_b_equals_segment_anything(sam, checkpoint, interpolate_position, side, box):
    ours = build_ours(checkpoint, side, box)
    images = torch.rand(1, 3, side, side) * 4 - 2
    original = sam.image_encoder.pos_embed
    if side != 1024:
        interpolate_position(sam.image_encoder, (side // 16, side // 16))
    expected = sam.image_encoder(images)
    sam.image_encoder.pos_embed = original
    base, adapted = ours.backbone.forward_both(images)
    for found in (base, adapted):
        assert torch.allclose(found["image_embedding"], expected, atol=1e-4)

    points = torch.rand(5, 2) * CROP
    boxes = spacing_boxes(points, points, scale=0.55, default_radius=12) if box else None
    # Our coordinates name positions; SAM's prompt encoder adds half a pixel of the encoder input.
    scaled = [None if each is None else each * side / CROP - 0.5 for each in (points, boxes)]
    tokens = ours.prompter.encode(points, points, CROP, [0])
    masks = ours.prompter(expected, tokens)
    wanted = expected_masks(sam, expected, *scaled, side)
    assert masks.shape == (5, side // 4, side // 4)
    assert torch.allclose(masks, wanted, atol=1e-4 * wanted.abs().max().item())

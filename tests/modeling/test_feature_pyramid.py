"""p2 ... p6 for stock heads: shapes, padding, what is trained, weights, bad sizes."""

from pathlib import Path

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_model
from detectron2.structures import ImageList

from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.backbone import EMBEDDING
from selfsam_d2.modeling.weights import load_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"
MASK_RCNN = str(CONFIGS / "mask_rcnn_sam_adapter_vitt_fpn.yaml")
VITDET = str(CONFIGS / "nuclei_head_vitdet.yaml")
LEVELS = ("p2", "p3", "p4", "p5", "p6")


@pytest.fixture(scope="module")
def pyramid():
    torch.manual_seed(0)
    return build_backbone(load_config(MASK_RCNN, []))


@pytest.mark.parametrize("config", [MASK_RCNN, VITDET])
def test_maps_have_the_channels_and_strides_that_are_announced(config):
    backbone = build_backbone(load_config(config, []))
    expected = {f"p{level}": ShapeSpec(channels=128, stride=2**level) for level in range(2, 7)}
    assert backbone.output_shape() == expected
    with torch.no_grad():
        features = backbone(torch.rand(2, 3, 64, 128))
    assert tuple(features) == LEVELS
    for name, shape in expected.items():
        assert features[name].shape == (2, 128, 64 // shape.stride, 128 // shape.stride)


@pytest.mark.parametrize(("config", "unit"), [(MASK_RCNN, 64), (VITDET, 32)])
def test_images_of_any_size_are_padded_to_what_the_backbone_takes(config, unit):
    backbone = build_backbone(load_config(config, []))
    # Either is read, depending on the caller.
    assert backbone.size_divisibility == unit
    assert backbone.padding_constraints == {"size_divisibility": unit, "square_size": 0}
    images = ImageList.from_tensors(
        [torch.rand(3, 40, 70), torch.rand(3, 65, 33)],
        backbone.size_divisibility,
        padding_constraints=backbone.padding_constraints,
    )
    height, width = images.tensor.shape[-2:]
    assert (height, width) == (-(-65 // unit) * unit, -(-70 // unit) * unit)
    with torch.no_grad():
        assert set(backbone(images.tensor)) == set(LEVELS)


def test_adapters_and_pyramid_learn_and_the_encoder_does_not(pyramid):
    pyramid.train()
    assert not any(module.training for module in pyramid.net.encoder.modules())
    sum(each.sum() for each in pyramid(torch.rand(1, 3, 64, 64)).values()).backward()
    trained = {name for name, each in pyramid.named_parameters() if each.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"net"} | {
        f"simfp_{level}" for level in (2, 3, 4, 5)
    }
    assert all(name.startswith("net.adapter") for name in trained if name.startswith("net."))
    assert all(
        each.grad is None
        for name, each in pyramid.named_parameters()
        if name.startswith("net.encoder.")
    )
    # Adapters begin with a zero up-projection, behind which nothing has a gradient yet.
    assert any(
        bool((each.grad != 0).any())
        for name, each in pyramid.named_parameters()
        if name.startswith("net.adapters.")
    )


def test_a_sam_file_fills_the_encoder_inside_a_detector(build_selfsam):
    source = build_selfsam()
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    encoder = source.backbone.encoder
    state = {
        f"image_encoder.{sam_name(key)}": value
        for key, value in encoder.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    model = build_model(load_config(MASK_RCNN, [])).eval()
    report = load_checkpoint(model, {"model": state}, "sam.pth")
    assert report.unused == ()
    assert {key.split(".")[0] for key in report.not_loaded} == {
        *("backbone", "proposal_generator", "roi_heads")
    }
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(
        model.backbone.net(images)[EMBEDDING], source.backbone.forward_base(images)[EMBEDDING]
    )


def sam_name(key):
    """MobileSAM's own name of a key of the encoder."""
    for index in (1, 2, 3):
        key = key.replace(f"stages.{index}.downsample.", f"layers.{index - 1}.downsample.")
    key = key.replace("stages.", "layers.").replace(".conv.weight", ".c.weight")
    return key.replace("patch_embed.conv1.", "patch_embed.seq.0.").replace(
        "patch_embed.conv2.", "patch_embed.seq.2."
    )


def test_heads_must_divide_the_channels_of_vitdet():
    with pytest.raises(InputError, match=r"MODEL\.VITDET\.EMBED_DIM 100: .*NUM_HEADS 3"):
        build_backbone(load_config(VITDET, ["MODEL.VITDET.EMBED_DIM", "100"]))


def test_a_vit_attends_globally_only_in_blocks_that_it_has():
    """One that it has not would leave it without any global attention, unnoticed."""
    for keys in (["MODEL.VITDET.GLOBAL_BLOCKS", "(8,)"], ["MODEL.VITDET.DEPTH", "4"]):
        with pytest.raises(InputError, match=r"MODEL\.VITDET\.GLOBAL_BLOCKS \(.*: expected .* to "):
            build_backbone(load_config(VITDET, keys))

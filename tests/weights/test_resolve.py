from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from selfsam_d2.errors import InputError
from selfsam_d2.weights.resolve import (
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

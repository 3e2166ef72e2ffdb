"""Pickles of weights: read as pickle itself would, and nothing of what they name is called."""

from __future__ import annotations

import codecs
import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from selfsam_d2.errors import InputError
from selfsam_d2.weights.pickled import ELEMENTS, read_pickled_weights
from selfsam_d2.weights.resolve import read_checkpoint

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
ARRAYS = hnp.arrays(
    st.sampled_from(sorted(ELEMENTS)).map(np.dtype),
    hnp.array_shapes(min_dims=0, max_dims=4, max_side=4),
    elements={"allow_nan": False},
)


def written(content: object, folder: Path, protocol: int = 4) -> Path:
    path = folder / "w.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@given(
    state=st.dictionaries(st.text(max_size=5).filter(lambda key: key != "blobs"), ARRAYS),
    protocol=st.sampled_from(PROTOCOLS),
    kind=st.sampled_from([dict, collections.OrderedDict]),
)
def test_arrays_are_those_that_were_written(
    state: dict[str, NDArray[Any]],
    protocol: int,
    kind: type,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    state = {**state, "last": ARRAY}
    content = {"model": kind(state), "__author__": "torchvision", "matching_heuristics": True}
    read = read_pickled_weights(written(content, tmp_path_factory.mktemp("p"), protocol))
    assert {**read, "model": 0} == {**content, "model": 0}
    assert list(read["model"]) == list(state)
    for key, value in read["model"].items():
        assert value.dtype == torch.from_numpy(state[key]).dtype
        np.testing.assert_array_equal(value.numpy(), state[key], strict=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [np.asfortranarray(ARRAY), ARRAY.astype(">f4"), ARRAY[::2, ::-1], np.array(ARRAY[1, 1])],
    ids=["fortran", "big-endian", "part", "scalar"],
)
def test_arrays_in_another_order_have_the_same_values(
    array: NDArray[Any], protocol: int, tmp_path: Path
) -> None:
    read = read_pickled_weights(written({"a": array, "b": array}, tmp_path, protocol))
    assert read["model"]["a"].dtype == torch.float32
    np.testing.assert_array_equal(read["model"]["a"].numpy(), array)


# As Python 2 writes {"conv1_w": np.float32([1, -2]), "conv1_w_momentum": ...}: bytes are texts.
PYTHON_2 = (
    b"\x80\x02}q\x00(U\x07conv1_wq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\n"
    b"q\x03K\x00\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02f4q\n"
    b"K\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89"
    b"U\x08\x00\x00\x80?\x00\x00\x00\xc0q\x0ftq\x10bU\x10conv1_w_momentumq\x11h\x07u."
)


def test_pickles_of_python_2_are_read(tmp_path: Path) -> None:
    meant = pickle.loads(PYTHON_2, encoding="latin1")
    np.testing.assert_array_equal(meant["conv1_w"], np.float32([1, -2]))
    path = tmp_path / "w.pkl"
    path.write_bytes(PYTHON_2)
    read = read_pickled_weights(path)
    np.testing.assert_array_equal(read["model"]["conv1_w"].numpy(), meant["conv1_w"])
    assert list(read["model"]) == ["conv1_w"]


@pytest.mark.parametrize(
    ("content", "author", "by_name"),
    [
        ({"model": {"a": ARRAY}, "__author__": "Detectron2 Model Zoo"}, "Detectron2 Model Zoo", 0),
        ({"model": {"a": ARRAY}, "__author__": "x", "matching_heuristics": False}, "x", 0),
        ({"blobs": {"a": ARRAY, "a_momentum": ARRAY}, "cfg": "text"}, "Caffe2", 1),
        ({"a": ARRAY, "b_momentum": ARRAY}, "Caffe2", 1),
    ],
)
def test_authors_are_told_as_detectron2_does(
    content: dict[str, Any], author: str, by_name: int, tmp_path: Path
) -> None:
    read = read_pickled_weights(written(content, tmp_path))
    assert list(read.pop("model")) == ["a"]
    assert read == {"__author__": author, "matching_heuristics": bool(by_name)}


def test_what_is_read_can_be_saved_and_loaded_safely(tmp_path: Path) -> None:
    read = read_pickled_weights(written({"a": ARRAY}, tmp_path))
    torch.save(read, tmp_path / "w.pth")
    again = read_checkpoint(tmp_path / "w.pth")
    assert torch.equal(again.pop("model")["a"], torch.from_numpy(ARRAY))
    assert again == {"__author__": "Caffe2", "matching_heuristics": True}


class Calls:
    """Pickled as a call."""

    def __init__(self, called: Any, *arguments: Any) -> None:
        self.call = called, arguments

    def __reduce__(self) -> Any:
        return self.call


def tower(levels: int = 200) -> Any:
    """Tuples that hold each other: short in a pickle, without end for a hash or a text."""
    found: Any = ()
    for _ in range(levels):
        found = (found, found)
    return found


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Calls(Path.touch, Path("touched"))}, r"refers to \S+"),
        ({"a": Calls(eval, "open('touched', 'w')")}, "refers to (__builtin__|builtins).eval"),
        ({"a": torch.ones(2)}, r"refers to torch\S+"),
        ({"a": np.array([None])}, "something else than numbers"),
        ({"a": np.zeros(2, [("x", "f4")])}, "something else than numbers"),
        ({"a": np.array(["text"])}, "something else than numbers"),
        ({"a": np.zeros(2, complex)}, "something else than numbers"),
        ({"a": np.zeros(2, bool)}, "something else than numbers"),
        ({"a": Calls(codecs.encode, "text", "rot13")}, "bytes of an unknown encoding"),
        ({"a": Calls(np.dtype, tower(), False, True)}, "something else than numbers"),
        ({1: ARRAY}, "keys that are no texts"),
        ({"model": {"a": ARRAY}, "__author__": tower()}, "names no author"),
        ({"a": "text"}, "an entry 'a' that is no array"),
        ({"a" * 10**6: "text"}, "an entry 'a{50,} ... that is no array"),
        ({"a": [ARRAY]}, "an entry 'a' that is no array"),
        ({"model": {"a": tower()}, "__author__": "x"}, "an entry 'a' that is no array"),
        ({}, "holds no arrays"),
        ({"model": {}, "__author__": "x"}, "holds no arrays"),
        ([ARRAY], "holds no dict"),
        ({"a": Calls(collections.OrderedDict, [(tower(), 1)])}, "is damaged or no pickle"),
        ({"model": ARRAY, "__author__": "x"}, "is damaged or no pickle"),
    ],
)
def test_anything_else_is_refused_and_not_called(
    content: object, message: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(content, tmp_path, protocol)
    with pytest.raises(InputError, match=rf"w\.pkl: .*{message}") as caught:
        read_pickled_weights(path)
    assert len(str(caught.value)) < 500
    assert not Path("touched").exists()


def test_a_key_whose_hash_takes_for_ever_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    # A dict, the key with its own memo, a value, SETITEM.
    path.write_bytes(b"\x80\x02}" + pickle.dumps(tower(), 2)[2:-1] + b"K\x01s.")
    with pytest.raises(InputError, match="keys that are no texts"):
        read_pickled_weights(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02}U\x01aU\x01bK\x01\x85Rs.", "calls something that is not named"),
        (b"\x80\x02}U\x01a0.", "holds the instruction POP"),
        (b"\x80\x02}2.", "holds the instruction DUP"),
        (b"\x80\x02}(U\x01aU\x01boU\x01cs.", "holds the instruction OBJ"),
        (b"\x80\x02}U\x01aU\x01bQs.", "holds the instruction BINPERSID"),
        (b"\x80\x02}\x82\x01.", "holds the instruction EXT1"),
        (b"\x80\x02U\x01a\x87.", "is damaged or no pickle"),
        (b"\x80\x02]U\x01aU\x01bs.", "is damaged or no pickle"),
    ],
)
def test_other_instructions_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"w\.pkl: {message}"):
        read_pickled_weights(path)


class Shared:
    """An array whose bytes are the same object as those of others."""

    data = b"\0" * 4000

    def __reduce__(self) -> Any:
        state = (1, (1000,), np.dtype("f4"), False, self.data)
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state


def test_arrays_cannot_share_bytes_and_fill_the_memory(tmp_path: Path) -> None:
    content = {f"{number}": Shared() for number in range(100)}
    path = written(content, tmp_path)
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match="holds arrays that share their bytes"):
        read_pickled_weights(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"text",
        b"\x80\x02}r\xff\xff\xff\x7f.",  # the place 2^31 of the memo
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # 2^63 bytes follow
        b"\x80\x02}0.",
        b"\x80\x02}Qq.",
        b"\x80\x02(}(K\x01u.",
        *(PYTHON_2[:length] for length in range(1, len(PYTHON_2) - 1, 7)),
        pickle.dumps({"a": ARRAY})[:-1],
    ],
)
def test_a_damaged_pickle_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"w\.pkl: "):
        read_pickled_weights(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"w\.pkl: cannot be read \(No such file"):
        read_pickled_weights(tmp_path / "w.pkl")

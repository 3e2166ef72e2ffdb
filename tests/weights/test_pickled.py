"""Pickles of weights: read as pickle itself would, and nothing of what they name is called."""

from __future__ import annotations

import codecs
import collections
import itertools
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
from tests.fuzz.weights_files import PYTHON_2

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
ARRAYS = hnp.arrays(
    st.sampled_from(sorted(ELEMENTS)).map(np.dtype),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
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
    [
        *(np.asfortranarray(ARRAY), ARRAY.astype(">f4"), ARRAY[::2, ::-1], np.array(ARRAY[1, 1])),
        *(CUBE.transpose(axes) for axes in itertools.permutations(range(3))),
    ],
    ids=["fortran", "big-endian", "part", "scalar", *(f"axes{number}" for number in range(6))],
)
def test_arrays_in_another_order_have_the_same_values(
    array: NDArray[Any], protocol: int, tmp_path: Path
) -> None:
    read = read_pickled_weights(written({"a": array, "b": array.copy()}, tmp_path, protocol))
    assert read["model"]["a"].dtype == torch.float32
    for key in "ab":
        np.testing.assert_array_equal(read["model"][key].numpy(), array)
        assert read["model"][key].is_contiguous()


def test_an_array_under_two_keys_is_read_once(tmp_path: Path) -> None:
    model = read_pickled_weights(written({"a": ARRAY, "b": ARRAY}, tmp_path))["model"]
    assert model["a"] is model["b"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_state_dicts_of_pytorch_are_read_without_their_versions(
    protocol: int, tmp_path: Path
) -> None:
    state = torch.nn.BatchNorm2d(3).state_dict()
    for key, value in state.items():
        state[key] = value.numpy()
    assert state._metadata
    read = read_pickled_weights(written({"model": state, "__author__": "x"}, tmp_path, protocol))
    assert list(read["model"]) == list(state)
    for key, value in read["model"].items():
        np.testing.assert_array_equal(value.numpy(), state[key], strict=True)


def test_anchors_that_older_models_kept_are_left_out(tmp_path: Path) -> None:
    state = {"proposal_generator.anchor_generator.cell_anchors.0": ARRAY, "a": ARRAY}
    read = read_pickled_weights(written({"model": state, "__author__": "x"}, tmp_path))
    assert list(read["model"]) == ["a"]


def test_pickles_of_python_2_are_read(tmp_path: Path) -> None:
    meant = pickle.loads(PYTHON_2, encoding="latin1")
    np.testing.assert_array_equal(meant["bias"], np.float32([1, -2]))
    path = tmp_path / "w.pkl"
    path.write_bytes(PYTHON_2)
    read = read_pickled_weights(path)
    np.testing.assert_array_equal(read["model"]["bias"].numpy(), meant["bias"])
    assert list(read["model"]) == ["bias"]


@pytest.mark.parametrize(
    ("content", "author", "by_name"),
    [
        ({"model": {"a": ARRAY}, "__author__": "Detectron2 Model Zoo"}, "Detectron2 Model Zoo", 0),
        ({"model": {"a": ARRAY}, "__author__": "x", "matching_heuristics": False}, "x", 0),
        ({"model": {"a": ARRAY}, "__author__": "x", "matching_heuristics": 1}, "x", 1),
        ({"model": {"a": ARRAY}, "__author__": "x", "matching_heuristics": "1"}, "x", 0),
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


from_buffer = np._core.numeric._frombuffer
F4 = np.dtype("f4")


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
        ({"a": Calls(codecs.encode, "text", tower())}, "bytes of an unknown encoding"),
        *(
            ({"a": Calls(from_buffer, b"1234", F4, shape, "C")}, "arrays of an unknown shape")
            for shape in ({"a": tower()}, [1], (-1,), (True,), (tower(),), 1, None, (1,) * 65)
        ),
        ({"a": Calls(from_buffer, b"1234", "f4", (1,), "C")}, "arrays of an unknown kind"),
        ({"a": Calls(from_buffer, tower(), F4, (1,), "C")}, "is damaged or no pickle"),
        ({"a": Calls(from_buffer, b"1234", F4, (2,), "C")}, "is damaged or no pickle"),
        ({"a": Calls(from_buffer, b"1234", F4, (1,), "K", (1,))}, "is damaged or no pickle"),
        ({"a": Calls(from_buffer, *"1" * 100_000)}, "is damaged or no pickle"),
        ({"a": Calls(np.dtype, *"1" * 100_000)}, "is damaged or no pickle"),
        ({"a": Calls(np.dtype, tower(), False, True)}, "something else than numbers"),
        ({1: ARRAY}, "keys that are no texts"),
        ({"model": {"a": ARRAY}, "__author__": tower()}, "names no author"),
        ({"a": "text"}, "an entry 'a' that is no array"),
        ({"a" * 10**6: "text"}, "an entry 'a{50,} ... that is no array"),
        ({"a": [ARRAY]}, "an entry 'a' that is no array"),
        ({"a": [ARRAY, ARRAY]}, "an entry 'a' that is no array"),
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
        (b"\x80\x02}U\x01acnumpy\ndtype\nU\x02f4Rs.", "calls something without a tuple"),
        (b"\x80\x02}" + b"N" * 1_000_000 + b".", "has more than 1000000 instructions"),
        (b"\x80\x02c\x1b[31mos\nsys\x07tem\n.", r"refers to \\x1b\[31mos\.sys\\x07tem; "),
        (PYTHON_2.replace(b"U\x01<", b"U\x01!"), "holds arrays of an unknown byte order"),
        (PYTHON_2.replace(b"U\x01<", b"K\x01"), "holds arrays of an unknown byte order"),
        (b"(U\x01a(K\x01ld.", "has an entry 'a' that is no array"),
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

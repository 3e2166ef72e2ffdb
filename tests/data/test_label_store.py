"""The label store: whole refreshes only, one per epoch."""

import numpy as np
import pytest

from selfsam_d2.data.label_store import LabelStore
from selfsam_d2.errors import InputError


def labels(value):
    return {
        "prompt_label": np.full((4, 5), value, np.int32),
        "instance_label": np.full((4, 5), -1, np.int32),
    }


RECORD = {"file_name": "a/x.png"}


def test_what_is_written_comes_back(tmp_path):
    store = LabelStore(tmp_path)
    store.write(RECORD, 3, labels(7))
    store.write({"file_name": "b/x.png"}, 3, labels(8))
    store.finish(3)
    found = store.read({**RECORD, "epoch": 3})
    assert (found["prompt_label"] == 7).all()
    assert (found["instance_label"] == -1).all()
    assert (store.read({"file_name": "b/x.png", "epoch": 3})["prompt_label"] == 8).all()


def test_an_unfinished_refresh_is_not_read(tmp_path):
    store = LabelStore(tmp_path, timeout=0.05)
    store.write(RECORD, 0, labels(1))
    assert not store.is_complete(0)
    with pytest.raises(InputError, match="epoch_00000"):
        store.read({**RECORD, "epoch": 0})


def test_nothing_half_written_is_left(tmp_path):
    store = LabelStore(tmp_path)
    broken = {"prompt_label": np.zeros(3)}
    with pytest.raises(KeyError):
        store.write(RECORD, 0, broken)
    assert not list(tmp_path.rglob("*.npz"))


def test_a_damaged_file_is_named(tmp_path):
    store = LabelStore(tmp_path)
    store.write(RECORD, 0, labels(1))
    store.finish(0)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=path.name):
        store.read({**RECORD, "epoch": 0})


def test_old_and_future_refreshes_are_discarded(tmp_path):
    store = LabelStore(tmp_path)
    for epoch in range(5):
        store.write(RECORD, epoch, labels(epoch))
        store.finish(epoch)
    store.discard(below=1, above=3)
    assert [store.is_complete(epoch) for epoch in range(5)] == [False, True, True, True, False]

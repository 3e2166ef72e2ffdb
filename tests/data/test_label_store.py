"""The label store: whole refreshes only, one per epoch."""

import multiprocessing
import os
import select
import threading
import time

import numpy as np
import pytest
from torch.utils.data import DataLoader

from selfsam_d2.data import label_store
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


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(label_store, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(label_store, "NETWORK_SECONDS", 0.05)


def test_an_unfinished_refresh_is_not_read(tmp_path, impatient):
    store = LabelStore(tmp_path)
    store.write(RECORD, 0, labels(1))
    assert not store.is_complete(0)
    with pytest.raises(InputError, match="epoch_00000"):
        store.read({**RECORD, "epoch": 0})


class Reader:
    """A dataset of one item: labels of an image."""

    def __init__(self, store):
        self.store = store

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.store.read({**RECORD, "epoch": index})["prompt_label"]


def test_a_data_worker_waits_as_long_as_a_refresh_takes(tmp_path, impatient):
    store = LabelStore(tmp_path)
    loader = DataLoader(Reader(store), num_workers=1)
    batches = iter(loader)  # the worker asks at once
    store.write(RECORD, 0, labels(7))
    refresh = threading.Timer(1.0, store.finish, (0,))
    refresh.start()
    started = time.monotonic()
    assert (next(batches) == 7).all()
    assert time.monotonic() - started > 0.9
    refresh.join()


def _trainer_that_dies(folder, pipe):
    store = LabelStore(folder)

    def wait():
        try:
            store.read({**RECORD, "epoch": 0})
        except InputError:
            os.write(pipe, b"ended")

    multiprocessing.get_context("fork").Process(target=wait).start()
    time.sleep(0.2)
    os._exit(0)


def test_a_data_worker_whose_trainer_is_gone_does_not_wait(tmp_path, impatient):
    reading, writing = os.pipe()
    trainer = multiprocessing.get_context("fork").Process(
        target=_trainer_that_dies, args=(tmp_path, writing)
    )
    trainer.start()
    os.close(writing)
    trainer.join()
    ready, _, _ = select.select([reading], [], [], 10)
    if not ready:
        LabelStore(tmp_path).finish(0)  # which sets it free
    assert ready
    assert os.read(reading, 9) == b"ended"
    os.close(reading)


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

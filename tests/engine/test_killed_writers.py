"""Writers that are killed at random moments, again and again: what counts as written is whole."""

import itertools
import os
import shutil
import signal
import time
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from torch import nn

from selfsam_d2.data.base_cache import BaseCache, pack_masks
from selfsam_d2.data.label_store import LABEL_NAMES, LabelStore
from selfsam_d2.data.transforms import AffineCropTransform
from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer
from selfsam_d2.slides.grid import tile_grid
from selfsam_d2.slides.nuclei import TileNuclei
from selfsam_d2.slides.store import SETTINGS, TileStore
from selfsam_d2.weights.resolve import read_checkpoint

SIDE = 200
IMAGES = 6
POINTS = np.random.default_rng(0).uniform(0, SIDE, (6, 2))
TILES = tile_grid(64 * IMAGES, 64, 64, 16)
RECORDS = [{"file_name": f"{number}.png"} for number in range(IMAGES)]


def masks_of(number):
    return np.random.default_rng(number).uniform(0.1, 1, (len(POINTS), SIDE, SIDE)).astype("f4")


class BaseMasks:
    """The base cache, as its hook fills it."""

    def __init__(self, folder):
        self.folder = folder
        self.cache = BaseCache(folder)
        self.cache.keys = {record["file_name"]: "key" for record in RECORDS}

    def work(self):
        for number, record in enumerate(RECORDS):
            if not self.cache.holds(record):
                window = ((0, 0), np.arange(len(POINTS)), masks_of(number))
                self.cache.write(record, pack_masks([window], (SIDE, SIDE)))

    def check(self):
        """Number of images that are there."""
        whole = AffineCropTransform(np.eye(3)[:2], (SIDE, SIDE))
        held = [number for number, record in enumerate(RECORDS) if self.cache.holds(record)]
        for number in held:
            inside = np.arange(len(POINTS))
            found = self.cache.crop_masks(RECORDS[number], POINTS, inside, whole)
            np.testing.assert_allclose(found, masks_of(number), rtol=2**-10)
        return len(held)


class Labels:
    """The label store, an epoch."""

    def __init__(self, folder):
        self.folder = folder
        self.store = LabelStore(folder)

    @staticmethod
    def labels(number):
        rng = np.random.default_rng(number)
        return {name: rng.integers(-1, 99, (SIDE, SIDE), np.int32) for name in LABEL_NAMES}

    def work(self):
        self.store.discard(above=-1)
        for number, record in enumerate(RECORDS):
            self.store.write(record, 0, self.labels(number))
        self.store.finish(0)

    def check(self):
        """Number of images that are there: all, or none."""
        if not self.store.is_complete(0):
            return 0
        for number, record in enumerate(RECORDS):
            found = self.store.read({**record, "epoch": 0})
            for name, expected in self.labels(number).items():
                assert (found[name] == expected).all()
        return IMAGES


class Checkpoints:
    """Checkpoints of a model whose weights are its step."""

    def __init__(self, folder):
        self.folder = folder

    def work(self):
        torch.set_num_threads(1)  # OpenMP does not survive a fork
        self.folder.mkdir(exist_ok=True)
        model = nn.Linear(500, 1000)
        checkpointer = SelfSAMCheckpointer(model, self.folder)
        first = self.check()
        for step in range(first, first + IMAGES):
            with torch.no_grad():
                model.weight.fill_(step)
            checkpointer.save(f"model_{step}", iteration=step)

    def check(self):
        """Number of steps that a training would not do again."""
        last = self.folder / "last_checkpoint"
        if not last.exists():
            return 0
        content = read_checkpoint(self.folder / last.read_text())
        assert (content["model"]["weight"] == content["iteration"]).all()
        return content["iteration"] + 1


class Tiles:
    """The tiles of a slide, as a prediction writes them; the logs say what it was at."""

    def __init__(self, folder):
        self.folder = folder

    @staticmethod
    def nuclei(number):
        rng = np.random.default_rng(number)
        count = 4000
        corners = rng.integers(0, 2000, (count, 2))
        return TileNuclei(
            boxes=np.concatenate([corners, corners + 20], axis=1),
            bits=rng.integers(0, 256, count * 50, np.uint8),
            scores=rng.random(count, np.float32),
            whole=rng.random(count) < 0.5,
            in_core=rng.random(count) < 0.5,
            table={"area_px": rng.random(count)},
        )

    def log(self, name, number):
        with (self.folder / name).open("a") as file:
            file.write(f"{number}\n")

    def logged(self, name):
        path = self.folder / name
        return set(map(int, path.read_text().split())) if path.exists() else set()

    def work(self):
        store = TileStore(self.folder, {"model": "m"})
        for number, tile in enumerate(TILES):
            if not store.has(tile):
                self.log("begun", number)
                store.write(tile, self.nuclei(number))
                self.log("done", number)

    def check(self):
        """Number of tiles that are there: those that were done, and the one it was at at most."""
        if not (self.folder / SETTINGS).exists():
            assert not self.logged("begun")
            return 0
        store = TileStore(self.folder, {"model": "m"})
        held = {number for number, tile in enumerate(TILES) if store.has(tile)}
        assert self.logged("done") <= held <= self.logged("begun")
        assert len(self.logged("begun") - held) <= 1
        for number in held:
            kept, expected = store.read(TILES[number]).arrays(), self.nuclei(number).arrays()
            assert kept.keys() == expected.keys()
            for name, values in expected.items():
                np.testing.assert_array_equal(kept[name], values)
        return len(held)


def run(work, kill_after=None, files=None):
    """Seconds that it took, in a process of its own.

    Args:
        kill_after: seconds after which it is killed, or ``None``.
        files: the file before whose renaming it is killed, counted from 0, or ``None``.
    """
    target = work if files is None else partial(killed_before_renaming, work, files)
    process = get_context("fork").Process(target=target)
    started = time.perf_counter()
    process.start()
    if kill_after is not None:
        time.sleep(kill_after)
        process.kill()
    process.join()
    killed = kill_after is not None or files is not None
    assert process.exitcode in ((0, -9) if killed else (0,))
    return time.perf_counter() - started


def killed_before_renaming(work, files):
    """How fast files are written differs between machines; their number does not."""
    replace, left = os.replace, itertools.count(files, -1)

    def replace_or_die(source, target):
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = replace_or_die
    work()


def drafts(folder):
    """Files that are not finished; one is there once only if the next one writes over it."""
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob(".*.part")}


@pytest.mark.parametrize("kills", [15, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", [BaseMasks, Labels, Checkpoints, Tiles])
def test_what_counts_as_written_is_whole(kind, kills, tmp_path):
    seconds = run(kind(tmp_path / "whole").work)
    assert kind(tmp_path / "whole").check() == IMAGES
    rng = np.random.default_rng(0)
    struck, most, reached = 0, 0, 0
    folders = (tmp_path / str(number) for number in itertools.count())
    written = kind(next(folders))
    for kill in range(kills):
        before = drafts(written.folder)
        if kill % 2:
            run(written.work, files=rng.integers(3))
        else:
            run(written.work, kill_after=rng.uniform(0, 1.3 * seconds))
        count = written.check()
        assert count >= reached or kind is Labels  # nothing that was there is lost
        struck += bool(drafts(written.folder) - before)
        most, reached = max(most, count), count
        if count >= IMAGES:
            shutil.rmtree(written.folder)
            written, reached = kind(next(folders)), 0
    # It did happen between a file and its name, and not only at the beginning.
    assert struck >= kills // 10
    assert most > 0
    run(written.work)
    assert written.check() >= IMAGES

"""DATALOADER.MAX_BAD in each way of making labels, over a resume and in several processes."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from detectron2.engine import HookBase

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.setup import argument_parser, check_inputs
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError, UnreadableImageError

# A crop is an image, and two of them an epoch.
FAST = (
    *("SELF_REFINE.HISTORY_CROPS", "0", "SOLVER.CHECKPOINT_PERIOD", "2"),
    *("INPUT.NUCLEI.CROP", "128", "INFERENCE.WINDOW", "128"),
    *("INPUT.NUCLEI.MIN_CROPS_PER_EPOCH", "0"),
)
CACHE = ("SELF_REFINE.BASE_CACHE", "True")
EPOCH = ("SELF_REFINE.REFRESH", "epoch")


class Images:
    """The training images of a test, of which some are damaged and mended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = sorted(folder.iterdir())
        self._whole = {path: path.read_bytes() for path in self.files}

    def cut(self, number: int, kept: int = 200) -> str:
        self.files[number].write_bytes(self._whole[self.files[number]][:kept])
        return str(self.files[number])

    def mend(self) -> None:
        for path, content in self._whole.items():
            path.write_bytes(content)


@pytest.fixture
def images(dataset: Any, tmp_path: Path) -> Images:
    shutil.copytree(dataset["train"].image_root, tmp_path / "images")
    return Images(tmp_path / "images")


@pytest.fixture
def build(small_config: Any, dataset: Any, images: Images, tmp_path: Path) -> Any:
    """Function: last step, KEY VALUE pairs -> a trainer that may lose one image."""
    name = f"spoilt_{tmp_path.name}"
    register_nuclei_instances(name, dataset["train"].json_file, images.folder)

    def make(last: int, *pairs: str, resume: bool = False, most: str = "1") -> SelfSAMTrainer:
        cfg = small_config(*FAST, *pairs, "SOLVER.MAX_ITER", str(last), "DATALOADER.MAX_BAD", most)
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), ()
        trainer = SelfSAMTrainer(cfg, resume=resume)
        trainer.resume_or_load(resume=resume)
        return trainer

    return make


def seen(trainer: SelfSAMTrainer) -> list[str]:
    """Names of the images that it learns from, filled while it trains."""
    names: list[str] = []

    def note(model: Any, arguments: tuple[Any, ...]) -> None:
        if model.training:
            names.extend(sample["file_name"] for sample in arguments[0])

    trainer.model.register_forward_pre_hook(note)
    return names


class Mend(HookBase):
    """The images are well again when the first step has its labels."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def before_step(self) -> None:
        self.images.mend()


@pytest.mark.parametrize("pairs", [(), EPOCH, CACHE], ids=["step", "epoch", "base cache"])
def test_an_image_is_left_out_and_still_is_when_the_run_goes_on(
    build: Any, images: Images, caplog: pytest.LogCaptureFixture, pairs: tuple[str, ...]
) -> None:
    trainer = build(2, *pairs)
    bad = images.cut(0)
    with caplog.at_level(logging.WARNING):
        trainer.train()
        assert trainer.unreadable.names == {bad}
        again = build(4, *pairs, resume=True)
        assert again.start_iter == 2
        names = seen(again)
        again.train()
    assert again.unreadable.names == {bad}
    assert names == [str(images.files[1])] * 2
    said = [each for each in caplog.messages if each.startswith(bad)]
    assert len(said) == 2  # in each run once
    assert all(each.endswith("; left out (1 of 1)") for each in said)


@pytest.mark.parametrize("pairs", [EPOCH, CACHE], ids=["epoch", "base cache"])
def test_one_too_many_stops_and_is_named(
    build: Any, images: Images, pairs: tuple[str, ...]
) -> None:
    trainer = build(4, *pairs, most="0")
    bad = images.cut(0)
    with pytest.raises(UnreadableImageError, match=rf"^{bad}: .*MAX_BAD allows 0 in a run; .*"):
        trainer.train()


def test_without_any_image_no_labels_are_refreshed(build: Any, images: Images) -> None:
    trainer = build(4, *EPOCH, most="2")
    bad = [images.cut(number) for number in range(2)]
    with pytest.raises(UnreadableImageError, match=rf"^{bad[0]}: .*; {bad[1]}: "):
        trainer.train()


@pytest.mark.parametrize("pairs", [EPOCH, CACHE], ids=["epoch", "base cache"])
def test_an_image_that_was_bad_when_its_labels_were_made_is_not_learnt_from(
    build: Any, images: Images, pairs: tuple[str, ...]
) -> None:
    trainer = build(4, *pairs)
    trainer.register_hooks([Mend(images)])
    names = seen(trainer)
    bad = images.cut(0)
    trainer.train()
    assert bad not in names[:2]
    # The labels of the next epoch are made of all images, the base masks of a run once.
    assert (bad in names[2:]) == (pairs == EPOCH)
    assert trainer.unreadable.names == {bad}


def test_an_image_that_is_gone_is_one_that_cannot_be_read(build: Any, images: Images) -> None:
    build(2, *CACHE).train()
    images.files[0].unlink()
    trainer = build(4, *CACHE, resume=True)
    trainer.train()
    assert trainer.unreadable.names == {str(images.files[0])}


@pytest.mark.parametrize("kept", [0, 200], ids=["empty", "cut off"])
def test_a_new_training_and_more_images_than_allowed_are_refused_at_once(
    build: Any, images: Images, dataset: Any, tmp_path: Path, kept: int
) -> None:
    trainer = build(2)

    def check(option: str, most: str) -> None:
        """As the command does."""
        cfg = trainer.cfg
        config = tmp_path / "config.yaml"
        config.write_text(cfg.dump())
        files = ("--register", cfg.DATASETS.TRAIN[0], str(dataset["train"].json_file))
        given = (*files, str(images.folder), "--config-file", str(config))
        check_inputs(argument_parser().parse_args([option, *given, "DATALOADER.MAX_BAD", most]))

    bad = images.cut(0, kept)
    for resume in (False, True):  # there is nothing yet to go on from
        with pytest.raises(InputError, match=f"^{bad}: "):
            build(2, resume=resume)
    images.mend()
    trainer.train()
    bad = images.cut(0, kept)
    with pytest.raises(InputError, match=f"^{bad}: "):
        build(4)
    check("--resume", "1")
    with pytest.raises(InputError, match=f"^{bad}: "):
        check("--resume", "0")
    second = images.cut(1, kept)
    with pytest.raises(InputError, match=f"^{second}: "):
        build(4, resume=True)


@pytest.mark.parametrize("pairs", [EPOCH, CACHE], ids=["epoch", "base cache"])
def test_two_processes_count_together(
    build: Any,
    images: Images,
    train: Any,
    losses: Any,
    small_keys: Any,
    tmp_path: Path,
    pairs: tuple[str, ...],
) -> None:
    output = tmp_path / "run"
    batch = ("SOLVER.IMS_PER_BATCH", "2")
    build(2, *pairs, *batch).train()
    for folder in ("base_masks", "labels"):
        shutil.rmtree(output / folder, ignore_errors=True)
    bad = images.cut(1)  # of the second process
    keys = (*small_keys, *FAST, *pairs, *batch, "SOLVER.MAX_ITER", "4")
    most = ("DATALOADER.MAX_BAD", "1")
    done = train(output, *keys, *most, processes=2, resume="resume", train_images=images.folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(losses(output)) == [2, 3]
    # The first process, which ends a refresh, knows it too.
    marks = sorted(output.glob("labels/*/complete"))
    assert bool(marks) == (pairs == EPOCH)
    assert all(list(json.loads(mark.read_text())) == [bad] for mark in marks)

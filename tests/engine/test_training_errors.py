"""A full disk ends a training with one line, and what it has saved stays; so do bad images."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.engine.training_errors import in_one_line
from selfsam_d2.errors import OutputError, UnreadableImageError
from selfsam_d2.visualization.curves import read_training_log


def train(cfg):
    trainer = SelfSAMTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(small_config, tmp_path, caplog):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".model_0000003.pth.part").symlink_to("/dev/full")
    expected = r"model_0000003\.pth: cannot be written \(No space left on device\); .*--resume"
    with pytest.raises(OutputError, match=expected):
        train(small_config("SOLVER.MAX_ITER", "9", "SOLVER.CHECKPOINT_PERIOD", "2"))
    assert (folder / "last_checkpoint").read_text() == "model_0000001.pth"
    assert torch.load(folder / "model_0000001.pth", weights_only=True)["iteration"] == 1
    assert not list(folder.glob(".*.part"))
    assert "Exception during training" not in caplog.text


def test_metrics_that_cannot_be_written_name_the_folder(small_config, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.json").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"run: cannot be written \(No space left on device\);"):
        train(small_config("SOLVER.MAX_ITER", "3"))


def test_a_row_that_a_full_disk_cut_off_does_not_spoil_the_next(small_config, tmp_path):
    train(small_config("SOLVER.MAX_ITER", "2"))
    log = tmp_path / "run" / "metrics.json"
    rows = log.read_text()
    log.write_text(rows + '{"iteration": 1, "tot')
    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "4"), resume=True)
    trainer.resume_or_load(resume=True)
    trainer.train()
    assert log.read_text().startswith(rows)
    assert read_training_log(log)[-1]["iteration"] == 4


@pytest.mark.parametrize(
    "number",
    ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE"],
)
def test_what_a_file_system_refuses_names_the_folder(number):
    number = getattr(errno, number)
    line = f"^run: cannot be written \\({os.strerror(number)}\\); mend it and go on with --resume$"
    with pytest.raises(OutputError, match=line), in_one_line("run"):
        raise OSError(number, os.strerror(number))
    with pytest.raises(ConnectionResetError), in_one_line("run"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_a_last_checkpoint_that_cannot_be_removed_names_the_folder(
    small_config, tmp_path, monkeypatch
):
    def refuse(path, missing_ok=False):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "3"))
    trainer.resume_or_load(resume=False)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match=r"run: cannot be written \(Operation not permitted\);"):
        trainer.train()


def test_other_errors_are_still_logged(small_config, monkeypatch, caplog):
    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "3"))
    trainer.resume_or_load(resume=False)
    monkeypatch.setattr(trainer, "before_step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert "Exception during training" in caplog.text


def test_an_image_that_is_damaged_meanwhile_is_left_out(small_config, dataset, tmp_path, caplog):
    images = tmp_path / "images"
    shutil.copytree(dataset["train"].image_root, images)
    name = f"meanwhile_{tmp_path.name}"
    register_nuclei_instances(name, dataset["train"].json_file, images)
    damaged = sorted(images.iterdir())[0]

    def train_on(most):
        keys = ("SOLVER.MAX_ITER", "6", "DATALOADER.MAX_BAD", most, "DATALOADER.NUM_WORKERS", "2")
        cfg = small_config(*keys)
        cfg.DATASETS.TRAIN = (name,)
        trainer = SelfSAMTrainer(cfg)
        trainer.resume_or_load(resume=False)
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:200])
        try:
            trainer.train()
        finally:
            damaged.write_bytes(whole)
        return trainer

    assert train_on("1").iter == 6
    warnings = [each for each in caplog.messages if "left out (1 of 1)" in each]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{damaged}: truncated or damaged image")
    with pytest.raises(UnreadableImageError, match=r"MAX_BAD allows 0 in a run"):
        train_on("0")


def test_a_folder_that_becomes_read_only_leaves_the_checkpoint_before(
    small_config, tmp_path, monkeypatch, caplog
):
    folder = tmp_path / "run"
    opened = Path.open

    def read_only(path, mode="r", *args, **kwargs):
        if "w" in mode and path.parent == folder and "model_0000003" in path.name:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", read_only)
    expected = r"model_0000003\.pth: cannot be written \(Read-only file system\); .*--resume"
    with pytest.raises(OutputError, match=expected) as caught:
        train(small_config("SOLVER.MAX_ITER", "9", "SOLVER.CHECKPOINT_PERIOD", "2"))
    assert "\n" not in str(caught.value)
    assert (folder / "last_checkpoint").read_text() == "model_0000001.pth"
    assert torch.load(folder / "model_0000001.pth", weights_only=True)["iteration"] == 1
    assert not list(folder.glob(".*.part"))
    assert "Exception during training" not in caplog.text

"""REFRESH: epoch: stored labels change from epoch to epoch and survive a resume."""

import numpy as np

from selfsam_d2.engine.trainer import SelfSAMTrainer

EPOCH_MODE = ("SELF_REFINE.REFRESH", "epoch", "SOLVER.BASE_LR", "0.003")


def train(cfg, *, resume=False):
    trainer = SelfSAMTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def stored(folder):
    """Epoch -> {file name -> (modification time, labels)}."""
    found = {}
    for path in sorted(folder.glob("epoch_*/*.npz")):
        with np.load(path) as file:
            labels = {name: file[name] for name in file.files}
        epoch = int(path.parent.name.removeprefix("epoch_"))
        found.setdefault(epoch, {})[path.name] = (path.stat().st_mtime_ns, labels)
    return found


def test_labels_change_and_survive_a_resume(small_config, tmp_path):
    per_epoch = SelfSAMTrainer(small_config()).schedule.crops_per_epoch
    steps = ("SOLVER.MAX_ITER", str(2 * per_epoch), "SOLVER.CHECKPOINT_PERIOD", str(per_epoch))
    first = train(small_config(*EPOCH_MODE, *steps))
    before = stored(tmp_path / "run" / "labels")
    assert set(before) == {0, 1}
    assert len(before[1]) == len(first.schedule.records)
    changed = [
        (before[0][name][1]["prompt_label"] != labels["prompt_label"]).mean()
        for name, (_, labels) in before[1].items()
    ]
    assert min(changed) > 0
    assert all((labels["prompt_label"] > 0).any() for _, labels in before[1].values())

    more = ("SOLVER.MAX_ITER", str(2 * per_epoch + 2), "SOLVER.CHECKPOINT_PERIOD", "1000")
    train(small_config(*EPOCH_MODE, *more), resume=True)
    after = stored(tmp_path / "run" / "labels")
    for name, (time, labels) in before[1].items():
        assert after[1][name][0] == time
        assert np.array_equal(after[1][name][1]["instance_label"], labels["instance_label"])
    assert 2 in after


def test_a_new_run_does_not_take_the_labels_of_an_earlier_one(small_config, tmp_path):
    cfg = small_config(*EPOCH_MODE, "SOLVER.MAX_ITER", "1")
    train(cfg)
    (earlier,) = stored(tmp_path / "run" / "labels").values()
    train(small_config(*EPOCH_MODE, "SOLVER.MAX_ITER", "1"))
    (later,) = stored(tmp_path / "run" / "labels").values()
    assert all(later[name][0] > time for name, (time, _) in earlier.items())


def test_lost_labels_are_made_again(small_config, tmp_path):
    train(small_config(*EPOCH_MODE, "SOLVER.MAX_ITER", "2", "SOLVER.CHECKPOINT_PERIOD", "2"))
    folder = tmp_path / "run" / "labels"
    (folder / "epoch_00000" / "complete").unlink()
    train(small_config(*EPOCH_MODE, "SOLVER.MAX_ITER", "3"), resume=True)
    assert (folder / "epoch_00000" / "complete").exists()

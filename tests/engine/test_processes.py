"""Several processes at one training: what they compute, and how they end."""

import signal

import pytest
import torch

from selfsam_d2.engine.processes import check_processes, run_in_processes
from selfsam_d2.errors import InputError, OutputError

TWO = ("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "10")


@pytest.fixture
def pairs(small_keys):
    return (*small_keys, *TWO, "DATALOADER.NUM_WORKERS", "1")


def folders(output):
    return {str(path.relative_to(output)) for path in output.rglob("*") if path.is_dir()}


@pytest.mark.parametrize(
    "refresh",
    [
        ("SELF_REFINE.REFRESH", "step", "SELF_REFINE.BASE_CACHE", "True"),
        ("SELF_REFINE.REFRESH", "epoch"),
    ],
    ids=["base cache", "label store"],
)
def test_two_processes_train_as_one_with_twice_the_batch(
    train, losses, gloo_threads, pairs, tmp_path, refresh
):
    keys = (*pairs, *refresh, "TEST.EVAL_PERIOD", "5")
    one, two = tmp_path / "one", tmp_path / "two"
    for output, processes in ((one, 1), (two, 2)):
        done = train(output, *keys, processes=processes)
        assert done.returncode == 0, done.stderr[-2000:]
    expected, found = losses(one), losses(two)
    assert sorted(expected) == sorted(found) == list(range(10))
    for step, row in expected.items():
        assert found[step] == pytest.approx(row, abs=1e-4), step
    assert len({row["loss_prompt"] for row in expected.values()}) == 10
    assert folders(one) == folders(two)
    assert gloo_threads(two) == [[], []]


def test_what_some_processes_saved_others_go_on_with(train, losses, pairs, tmp_path):
    whole = tmp_path / "whole"
    assert train(whole, *pairs).returncode == 0
    expected = losses(whole)
    for before, after in ((2, 1), (1, 2)):
        shared = tmp_path / f"{before} to {after}"
        assert train(shared, *pairs, "SOLVER.MAX_ITER", "4", processes=before).returncode == 0
        assert sorted(losses(shared)) == list(range(4))
        assert train(shared, *pairs, processes=after, resume="resume").returncode == 0
        found = losses(shared)
        assert sorted(found) == list(range(10))
        for step, row in expected.items():
            assert found[step] == pytest.approx(row, abs=1e-4), (before, after, step)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)],
    ids=["all are asked", "the first is asked", "Ctrl+C"],
)
def test_processes_that_are_asked_to_stop_save_and_end_together(
    train, losses, pairs, gloo_threads, tmp_path, number, status
):
    keys = (*pairs, "SOLVER.MAX_ITER", "1000")
    done = train(tmp_path, *keys, processes=2, kill_at=3, number=number)
    assert done.returncode == status, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    last = max(losses(tmp_path))
    assert 2 <= last < 900
    assert (tmp_path / "last_checkpoint").read_text() == f"model_{last:07d}.pth"
    # One that is still there can abort its process.
    assert not any(gloo_threads(tmp_path))


def test_a_label_refresh_of_two_processes_is_left_at_once(train, losses, pairs, tmp_path):
    keys = (*pairs, "SELF_REFINE.REFRESH", "epoch", "SOLVER.CHECKPOINT_PERIOD", "1000")
    done = train(tmp_path, *keys, processes=2, kill_at=4, number=signal.SIGUSR2)
    assert done.returncode == 143, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert sorted(losses(tmp_path)) == list(range(4))  # 8 crops an epoch, 2 a step
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"
    assert not (tmp_path / "labels" / "epoch_00001" / "complete").exists()


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGHUP, "error: b.png: bad"),
        (signal.SIGQUIT, "error: process 1 was ended by SIGKILL, "),
    ],
    ids=["an error of ours", "killed"],
)
def test_where_one_process_fails_all_are_ended(train, losses, pairs, tmp_path, number, line):
    keys = (*pairs, "SOLVER.MAX_ITER", "1000")
    done = train(tmp_path, *keys, processes=2, kill_at=3, number=number)
    assert done.returncode == 2, done.stderr[-2000:]
    # Python's resource tracker has its own word for a process that was killed.
    assert f"\n{line}" in done.stderr
    assert done.stderr.count("error: ") == 1
    assert max(losses(tmp_path)) in (2, 3)


def test_an_error_of_all_processes_is_said_once(train, pairs, tmp_path):
    done = train(tmp_path, *pairs, "SOLVER.BASE_LR", "1e30", processes=2)
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.count("error: ") == 1
    assert "go on from the last checkpoint" in done.stderr.splitlines()[-1]


def test_what_cannot_be_shared_out_is_refused(small_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = small_config("SOLVER.IMS_PER_BATCH", "4")
    check_processes(cfg, 2, 2)
    check_processes(cfg, 3, trains=False)
    line = r"^SOLVER.IMS_PER_BATCH 4: must be a multiple of the number of processes, which is 6$"
    with pytest.raises(InputError, match=line):
        check_processes(cfg, 3, 2)
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 2
    check_processes(cfg, 3, 2)
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 3
    with pytest.raises(InputError, match=r"multiple of SOLVER.REFERENCE_WORLD_SIZE, which is 3$"):
        check_processes(cfg, 3, 2)
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 0
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=r"^--num-gpus 2: this machine has 1$"):
        check_processes(cfg, 2)
    with pytest.raises(InputError, match=r"^--num-gpus 2: this machine has 1$"):
        run_in_processes(print, 2, ())
    for device in ("cpu", "cuda:0"):
        cfg.MODEL.DEVICE = device
        line = rf"^MODEL.DEVICE {device}: .* set it to cuda, or CUDA_VISIBLE_DEVICES"
        with pytest.raises(InputError, match=line):
            check_processes(cfg, 1, 2)


@pytest.mark.parametrize(("machines", "rank"), [(0, 0), (1, 1), (2, 2), (2, -1)])
def test_a_rank_is_one_of_the_machines(machines, rank):
    with pytest.raises(InputError, match=f"^--machine-rank {rank}: must be one of the {machines}"):
        run_in_processes(print, 1, (), num_machines=machines, machine_rank=rank)


def test_an_error_in_this_process_is_as_it_was():
    def fail():
        raise OutputError("a.png", "full")

    with pytest.raises(OutputError, match=r"^a\.png: full$"):
        run_in_processes(fail, 1, ())


def test_one_process_is_this_one():
    seen = []
    run_in_processes(seen.append, 1, ("here",))
    assert seen == ["here"]

"""Train a few steps, write each step's losses to a file, and die at a step if told so.

python killable_training.py PROCESSES OUTPUT_DIR TRAIN_JSON TRAIN_ROOT VAL_JSON VAL_ROOT RESUME \
    KILL_AT SIGNAL KEY VALUE ...

SIGTERM goes to all processes of its group, as schedulers do it, SIGKILL to the first; SIGUSR1 is
a SIGTERM to the process that started the others, SIGQUIT a SIGKILL of the last one of them,
SIGHUP an error that it raises. SIGUSR2 is a SIGTERM to all of the group between two steps, before
the labels are refreshed; the others come within a step.

At the end each process writes the names of its threads to OUTPUT_DIR/threads_RANK.json.
"""

import atexit
import json
import os
import signal
import sys
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.processes import run_in_processes
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError, run_command


def write_threads(path):
    names = [each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm")]
    path.write_text(json.dumps(names))


class Killer(HookBase):
    def __init__(self, kill_at, number):
        self.kill_at = kill_at
        self.number = number

    def before_step(self):
        if self.trainer.iter != self.kill_at:
            return
        if comm.get_rank() == comm.get_world_size() - 1:
            if self.number == signal.SIGHUP:
                raise InputError("b.png", "bad")
            if self.number == signal.SIGQUIT:
                os.kill(os.getpid(), signal.SIGKILL)
        if not comm.is_main_process():
            return
        if self.number in (signal.SIGTERM, signal.SIGINT):
            os.killpg(0, self.number)
        if self.number == signal.SIGUSR2:
            os.killpg(0, signal.SIGTERM)
        if self.number == signal.SIGUSR1:
            os.kill(os.getppid(), signal.SIGTERM)


class LossLog(HookBase):
    def __init__(self, path, kill_at, number):
        self.path = path
        self.kill_at = kill_at
        self.number = number

    def after_step(self):
        latest = self.trainer.storage.latest()
        if not comm.is_main_process():
            return
        losses = {name: value[0] for name, value in latest.items() if "loss" in name}
        with open(self.path, "a") as file:
            file.write(json.dumps({"iteration": self.trainer.iter, **losses}) + "\n")
        if self.trainer.iter == self.kill_at and self.number == signal.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)


def train(output, train_json, train_root, val_json, val_root, resume, kill_at, number, *pairs):
    register_nuclei_instances("train", train_json, train_root)
    register_nuclei_instances("val", val_json, val_root)
    config = Path(__file__).parents[2] / "configs" / "demo.yaml"
    cfg = load_config(str(config), pairs)
    cfg.DATASETS.TRAIN, cfg.OUTPUT_DIR = ("train",), output
    cfg.DATASETS.TEST = ("val",) if cfg.TEST.EVAL_PERIOD else ()
    Path(output).mkdir(exist_ok=True)
    atexit.register(write_threads, Path(output) / f"threads_{comm.get_rank()}.json")
    seed_all_rng(comm.get_rank())
    trainer = SelfSAMTrainer(cfg, resume=resume == "resume")
    trainer.resume_or_load(resume=resume == "resume")
    log = LossLog(Path(output) / "losses.jsonl", int(kill_at), int(number))
    # Before the others, so that a step that is saved is logged.
    trainer._hooks.insert(0, log)
    log.trainer = trainer
    killer = Killer(int(kill_at), int(number))
    trainer.register_hooks([killer])
    if int(number) == signal.SIGUSR2:
        trainer._hooks.insert(0, trainer._hooks.pop())
    trainer.train()


if __name__ == "__main__":
    run_command(lambda: run_in_processes(train, int(sys.argv[1]), tuple(sys.argv[2:])))

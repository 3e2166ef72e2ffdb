"""Train a few steps, write each step's losses to a file, and die at a step if told so.

python killable_training.py OUTPUT_DIR TRAIN_JSON TRAIN_ROOT VAL_JSON VAL_ROOT RESUME KILL_AT \
    KEY VALUE ...
"""

import json
import os
import signal
import sys
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer


class LossLog(HookBase):
    def __init__(self, path, kill_at):
        self.path = path
        self.kill_at = kill_at

    def after_step(self):
        latest = self.trainer.storage.latest()
        losses = {name: value[0] for name, value in latest.items() if "loss" in name}
        with open(self.path, "a") as file:
            file.write(json.dumps({"iteration": self.trainer.iter, **losses}) + "\n")
        if self.trainer.iter == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main():
    output, train_json, train_root, val_json, val_root, resume, kill_at, *pairs = sys.argv[1:]
    register_nuclei_instances("train", train_json, train_root)
    register_nuclei_instances("val", val_json, val_root)
    config = Path(__file__).parents[2] / "configs" / "demo.yaml"
    cfg = load_config(str(config), pairs)
    cfg.DATASETS.TRAIN, cfg.OUTPUT_DIR = ("train",), output
    cfg.DATASETS.TEST = ("val",) if cfg.TEST.EVAL_PERIOD else ()
    Path(output).mkdir(exist_ok=True)
    seed_all_rng(0)
    trainer = SelfSAMTrainer(cfg)
    trainer.resume_or_load(resume=resume == "resume")
    trainer.register_hooks([LossLog(Path(output) / "losses.jsonl", int(kill_at))])
    trainer.train()


if __name__ == "__main__":
    main()

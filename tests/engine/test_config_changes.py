from __future__ import annotations

from selfsam_d2.engine.config_changes import changed_keys
from selfsam_d2.engine.setup import load_config


def test_only_keys_of_another_value_are_changed(tmp_path):
    assert set(changed_keys(load_config("", ["MODEL.DEVICE", "cuda"]))) <= {"MODEL.DEVICE"}
    cfg = load_config("", ["INPUT.NUCLEI.SHIFT", "8", "DATASETS.TRAIN", "mine", "SEED", "-1"])
    changed = changed_keys(cfg)
    assert changed["INPUT.NUCLEI.SHIFT"] == (8.0, 0.0)
    assert changed["DATASETS.TRAIN"] == (["mine"], [])
    assert "SEED" not in changed
    # What is written and read again is the same.
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert changed_keys(load_config(str(tmp_path / "config.yaml"), [])) == changed

"""Configs of earlier versions are read as they were meant, and those of later ones refused."""

from pathlib import Path

import pytest
import yaml
from detectron2.config import get_cfg

import selfsam_d2
from selfsam_d2.config import VERSION
from selfsam_d2.engine.config_changes import changed_keys
from selfsam_d2.engine.config_files import leaves
from selfsam_d2.engine.config_versions import ANY, GONE, UPGRADES
from selfsam_d2.engine.setup import config_from_text, load_config
from selfsam_d2.errors import InputError

# Dumps of earlier states, cut to the keys of this package.
OLD = sorted((Path(__file__).parent / "old_configs").glob("*.yaml"))
BEFORE = next(path for path in OLD if path.stem == "before_versions")
RETIRED = {key: idle for keys in GONE.values() for key, idle in keys.items()}
# Key -> what it had before a value that changes the nuclei took its place.
MARKERS = {"POSTPROCESS.MARKER_OPENING": 5, "POSTPROCESS.MARKER_THRESHOLD": 0.5}
VERSION_KEY = "SELFSAM.VERSION"


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def changed(cfg):
    """Key -> value of those that are not as by default; devices differ from machine to machine."""
    values = {key: value for key, (value, _) in changed_keys(cfg).items()}
    return {key: value for key, value in values.items() if not key.startswith("MODEL.DEVICE")}


def plain():
    cfg = get_cfg()
    selfsam_d2.add_selfsam_config(cfg)
    return cfg


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_dump_of_an_earlier_version_is_read_as_it_was(path):
    cfg = load_config(str(path), [])
    found = dict(leaves(yaml.safe_load(cfg.dump())))
    then = dict(leaves(yaml.safe_load(path.read_text())))
    assert set(then) - set(found) <= set(RETIRED)
    assert {key: found[key] for key in then if key in found} == {
        key: value for key, value in then.items() if key in found
    }
    assert cfg.SELFSAM.VERSION == VERSION
    assert config_from_text(path.read_text(), "old.yaml") == cfg
    assert changed(config_from_text(cfg.dump(), "new.yaml")) == changed(cfg)


def test_there_is_a_dump_of_each_version():
    assert [path.stem for path in OLD if path != BEFORE] == [
        f"version_{number}" for number in range(1, VERSION)
    ]
    assert sorted(UPGRADES) == list(range(2, VERSION + 1))
    held = {path.stem: set(dict(leaves(yaml.safe_load(path.read_text())))) for path in OLD}
    for version, keys in GONE.items():
        assert set(keys) <= held[f"version_{version - 1}"]
        after = held.get(f"version_{version}", held[BEFORE.stem])
        assert not set(keys) & after
    assert not set(RETIRED) & held[BEFORE.stem]


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_the_public_function_reads_what_detectron2_alone_does_not(path, tmp_path):
    cfg = plain()
    cfg.MODEL.MY_KEY = 3  # of another project
    selfsam_d2.merge_config_file(cfg, path, ["SEED", "5", "INFERENCE.SCALES", "(1.0,)"])
    assert (cfg.SEED, cfg.MODEL.pop("MY_KEY")) == (5, 3)
    assert changed(cfg) == changed(load_config(str(path), ["SEED", "5"]))
    other = tmp_path / "other.yaml"
    other.write_text("INFERENCE:\n  SCALES: (2.0,)\n")
    with pytest.raises(InputError, match=r"other\.yaml: INFERENCE\.SCALES \(2\.0,\) was taken out"):
        selfsam_d2.merge_config_file(cfg, other)
    with pytest.raises(InputError, match=r"^absent\.yaml: no such config file"):
        selfsam_d2.merge_config_file(cfg, "absent.yaml")


def test_what_a_file_of_the_first_version_leaves_out_has_the_defaults_of_then(tmp_path):
    path = tmp_path / "first.yaml"
    path.write_text("SELFSAM: {VERSION: 1}\n")
    assert changed(load_config(str(path), [])) == MARKERS
    path.write_text("SELFSAM: {VERSION: 1}\nPOSTPROCESS: {MARKER_OPENING: 3}\n")
    assert changed(load_config(str(path), [])) == {"POSTPROCESS.MARKER_THRESHOLD": 0.5}
    assert changed(load_config(str(path), ["POSTPROCESS.MARKER_THRESHOLD", "0.4"])) == {}
    # Those of its base count as its own.
    (tmp_path / "child.yaml").write_text("_BASE_: first.yaml\nSEED: 4\n")
    found = changed(load_config(str(tmp_path / "child.yaml"), []))
    assert found == {"POSTPROCESS.MARKER_THRESHOLD": 0.5, "SEED": 4}


@pytest.mark.parametrize(
    "text", ["SEED: 4\n", "SEED: 4\nSELFSAM: {}\n", "SEED: 4\nTEST: {MAX_NUCLEI: 9}\n"]
)
def test_what_a_file_without_a_version_leaves_out_has_the_defaults_of_today(text):
    assert changed(config_from_text(text, "mine.yaml")) == {"SEED": 4}


@pytest.mark.parametrize("version", [None, 1, VERSION])
@pytest.mark.parametrize("spelled", [list, repr])
@pytest.mark.parametrize("key", RETIRED)
def test_a_retired_key_that_did_nothing_is_dropped(key, spelled, version):
    idle = 3 if RETIRED[key] is ANY else RETIRED[key]
    given = nested(key, spelled(idle) if isinstance(idle, tuple) else idle)
    if version is not None:
        given["SELFSAM"] = {"VERSION": version}
    found = changed(config_from_text(yaml.safe_dump(given), "old.yaml"))
    assert found == (MARKERS if version == 1 else {})


@pytest.mark.parametrize("key", RETIRED)
def test_a_retired_pair_is_as_one_of_a_file(key):
    idle = 3 if RETIRED[key] is ANY else RETIRED[key]
    assert load_config("", [key, str(idle), "SEED", "4"]) == load_config("", ["SEED", "4"])
    if RETIRED[key] is not ANY:
        with pytest.raises(InputError, match=rf"^{key} 0\.5: {key} 0\.5 was taken out"):
            load_config("", [key, "0.5"])


@pytest.mark.parametrize("key", [key for key, idle in RETIRED.items() if idle is not ANY])
def test_a_retired_key_that_was_in_use_is_named(key):
    with pytest.raises(InputError, match=rf"^old\.yaml: {key} 0\.5 was taken out"):
        config_from_text(yaml.safe_dump(nested(key, 0.5)), "old.yaml")


@pytest.mark.parametrize(
    ("maker", "lost"),
    [
        ("StaticSAMLabels", ["CONTRAST"]),
        ("VoronoiClusterLabels", ["PROMPT", "CONTRAST"]),
        ("SelfRefiningLabels", []),
    ],
)
def test_losses_that_count_no_more_are_named(maker, lost, caplog):
    text = f"INPUT: {{NUCLEI: {{STAIN: 0.0}}}}\nPSEUDO_LABEL: {{NAME: {maker}}}\n"
    config_from_text(text, "old.yaml")
    said = [record.getMessage() for record in caplog.records if "selfsam_d2" in record.name]
    assert said == [
        f"old.yaml: MODEL.LOSS.{name}_WEIGHT 1.0 counts as 0 now: {maker} has no such loss"
        for name in lost
    ]
    caplog.clear()
    off = "MODEL: {LOSS: {PROMPT_WEIGHT: 0.0, CONTRAST_WEIGHT: 0.0}}\n"
    config_from_text(text + off, "old.yaml")
    config_from_text(text.splitlines()[1], "new.yaml")
    assert [record for record in caplog.records if "selfsam_d2" in record.name] == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"SELFSAM: {{VERSION: {VERSION + 1}}}\n", "made by a newer selfsam_d2 "),
        (f"SELFSAM: {{VERSION: {VERSION + 1}, NEW: 1}}\nOTHER: 2\n", "made by a newer selfsam_d2 "),
        ("SELFSAM: {VERSION: 0}\n", "SELFSAM.VERSION 0: expected a number from 1 to "),
        ("SELFSAM: {VERSION: true}\n", "SELFSAM.VERSION True: expected a number from 1 to "),
        ("SELFSAM: {VERSION: }\n", "SELFSAM.VERSION None: expected a number from 1 to "),
        ("VERSION: 3\n", "made by a newer Detectron2 "),
        ("VERSION: -1\n", "VERSION -1: expected a number from 0 to 2"),
        ("VERSION: a\n", "VERSION 'a': expected a number from 0 to 2"),
        ("MODEL: 3\nINPUT:\n  NUCLEI: x\n", "is not a mapping of config keys"),
        ("POSTPROCESS: 3\nSELFSAM: {VERSION: 1}\n", ""),
        ("SELFSAM: 3\n", ""),
        ("PSEUDO_LABEL: {NAME: [a]}\nINPUT: {NUCLEI: {STAIN: 0.0}}\n", ""),
        ("VERSION: 1\nMODEL: \n", ""),
    ],
)
def test_what_cannot_be_read_is_one_line(text, line):
    with pytest.raises(InputError) as raised:
        config_from_text(text, "old.yaml")
    assert str(raised.value).startswith(f"old.yaml: {line}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["VERSION", VERSION_KEY])
def test_a_version_is_no_setting(key):
    now = load_config("", [])
    assert load_config("", [key, str(2 if key == "VERSION" else VERSION)]) == now
    with pytest.raises(InputError, match=rf"^{key} 1: says how a file is read; leave it out$"):
        load_config("", [key, "1"])


def test_other_keys_of_a_config_with_retired_ones_stay():
    text = "INPUT:\n  NUCLEI:\n    STAIN: 0.0\n    SHIFT: 8\n"
    assert config_from_text(text, "old.yaml").INPUT.NUCLEI.SHIFT == 8.0
    with pytest.raises(InputError, match="STAINS"):
        config_from_text(text.replace("STAIN", "STAINS"), "old.yaml")


@pytest.mark.parametrize("version", ["VERSION: 1\n", ""])
def test_a_config_of_detectron2s_first_version_is_upgraded_by_detectron2(version):
    text = f"{version}MODEL:\n  WEIGHT: a.pth\n  LOSS: {{PROMPT_WEIGHT: 2}}\nSEED: 4\n"
    found = changed(config_from_text(text, "old.yaml"))
    assert found == {"MODEL.WEIGHTS": "a.pth", "MODEL.LOSS.PROMPT_WEIGHT": 2.0, "SEED": 4}


def test_a_file_without_detectron2s_version_is_no_news(caplog):
    config_from_text("SEED: 4\n", "mine.yaml")
    assert caplog.records == []

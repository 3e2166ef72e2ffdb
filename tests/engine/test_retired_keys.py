"""Configs of earlier versions."""

import pytest
import yaml

from selfsam_d2.engine.retired_keys import ANY, RETIRED
from selfsam_d2.engine.setup import config_from_text, load_config
from selfsam_d2.errors import InputError


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize("spelled", [list, repr])
@pytest.mark.parametrize("key", RETIRED)
def test_a_retired_key_that_did_nothing_is_dropped(key, spelled, tmp_path):
    idle = 3 if RETIRED[key] is ANY else RETIRED[key]
    value = spelled(idle) if isinstance(idle, tuple) else idle
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(nested(key, value)))
    assert load_config(str(tmp_path / "old.yaml"), []) == load_config("", [])


@pytest.mark.parametrize("key", [key for key, idle in RETIRED.items() if idle is not ANY])
def test_a_retired_key_that_was_in_use_is_named(key):
    with pytest.raises(InputError, match=rf"^old\.yaml: {key} 0\.5 was taken out"):
        config_from_text(yaml.safe_dump(nested(key, 0.5)), "old.yaml")


def test_retired_keys_are_gone():
    cfg = load_config("", [])
    for key in RETIRED:
        node, (*path, name) = cfg, key.split(".")
        for part in path:
            node = node[part]
        assert name not in node, key


def test_what_is_no_mapping_is_no_traceback():
    with pytest.raises(InputError, match=r"^old\.yaml: "):
        config_from_text("MODEL: 3\nINPUT:\n  NUCLEI: x\n", "old.yaml")


def test_other_keys_of_a_config_with_retired_ones_stay():
    text = "INPUT:\n  NUCLEI:\n    STAIN: 0.0\n    SHIFT: 8\n"
    assert config_from_text(text, "old.yaml").INPUT.NUCLEI.SHIFT == 8.0
    with pytest.raises(InputError, match="STAINS"):
        config_from_text(text.replace("STAIN", "STAINS"), "old.yaml")

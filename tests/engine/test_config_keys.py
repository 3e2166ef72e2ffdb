"""No key of the config goes, and no default changes, without an upgrade for the files that have it.

``config_keys.txt`` holds the keys of this package with their defaults.
"""

from pathlib import Path

from detectron2.config import get_cfg

from selfsam_d2.config import VERSION, add_selfsam_config
from selfsam_d2.engine.config_files import leaves

LIST = Path(__file__).parent / "config_keys.txt"
STEPS = (
    "raise VERSION in selfsam_d2/config.py, add the step to selfsam_d2/engine/config_versions.py "
    f"and a dump of the last version, cut to our keys, as old_configs/version_{VERSION}.yaml"
)


def faults(listed, found):
    """What to do about each difference between the list and the config.

    Args:
        listed: key -> default, as text, of the list.
        found: the same, of the config.
    """
    for key in sorted({*listed, *found}):
        before, now = (f"{key} {each[key]}" if key in each else None for each in (listed, found))
        if now is None:
            yield f"{key} is gone: {STEPS}; then take the line {before!r} out of {LIST.name}"
        elif before is None:
            yield f"{key} is new: add the line {now!r} to {LIST.name}"
        elif before != now:
            yield (
                f"{key} has another default: where nuclei or trainings become other ones, {STEPS}, "
                f"which keeps the old default; then {now!r} takes the place of {before!r} in "
                f"{LIST.name}"
            )


def config_keys():
    cfg = get_cfg()
    before = {"SELFSAM.VERSION", *(key for key, _ in leaves(cfg))}
    add_selfsam_config(cfg)
    return {key: repr(value) for key, value in leaves(cfg) if key not in before}


def listed_keys():
    return dict(line.split(" ", 1) for line in LIST.read_text().splitlines())


def test_the_keys_are_those_of_the_list():
    assert list(faults(listed_keys(), config_keys())) == []


def test_a_key_that_disappears_is_found():
    listed, found = listed_keys(), config_keys()
    assert len(listed) > 80
    del found["SOLVER.EPOCHS"]
    found["SOLVER.TURNS"] = "100"
    found["POSTPROCESS.MARKER_OPENING"] = "5"
    changed, gone, new = faults(listed, found)
    assert "POSTPROCESS.MARKER_OPENING has another default: " in changed
    assert gone.startswith("SOLVER.EPOCHS is gone: raise VERSION")
    assert new == "SOLVER.TURNS is new: add the line 'SOLVER.TURNS 100' to config_keys.txt"

"""YAML whose aliases stand for more than a machine can hold is refused; others are not."""

import time

import pytest

from selfsam_d2.engine import yaml_texts
from selfsam_d2.engine.setup import config_from_text, load_config
from selfsam_d2.errors import InputError


def laughs(merge):
    """Ten aliases in each of nine levels: 800 bytes for 10^8 values."""
    level = "<<: [{}]" if merge else "{}"
    lines = ["a0: &a0 {x: 1}"]
    for number in range(1, 9):
        aliases = [f"*a{number - 1}"] * 10
        if not merge:
            aliases = [f"k{place}: {each}" for place, each in enumerate(aliases)]
        lines.append(f"a{number}: &a{number} {{{level.format(', '.join(aliases))}}}")
    return "\n".join(lines)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("place", ["file", "base", "text"])
def test_aliases_without_bound_are_refused_at_once(place, merge, tmp_path):
    (tmp_path / "a.yaml").write_text(laughs(merge))
    (tmp_path / "over_a.yaml").write_text("_BASE_: a.yaml\n")
    read = {
        "file": lambda: load_config(str(tmp_path / "a.yaml"), []),
        "base": lambda: load_config(str(tmp_path / "over_a.yaml"), []),
        "text": lambda: config_from_text(laughs(merge), "config in a.yaml"),
    }
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"a\.yaml: its aliases stand for more") as caught:
        read[place]()
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - started < 5


def test_an_alias_of_what_holds_it_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("MODEL: &a {SAM: [*a]}\n")
    with pytest.raises(InputError, match=r"a\.yaml: an alias stands for what holds it"):
        load_config(str(path), [])


def test_aliases_and_bases_are_read(tmp_path):
    (tmp_path / "base.yaml").write_text("SEED: &seed 3\nMODEL: {WEIGHTS: '*'}\n")
    path = tmp_path / "a.yaml"
    path.write_text("_BASE_: base.yaml\nSEED: &four 4\nSOLVER: {MAX_ITER: *four}\n")
    cfg = load_config(str(path), [])
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.MODEL.WEIGHTS) == (4, 4, "*")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.yaml", "detectron2://a.yaml"])
@pytest.mark.parametrize("listed", [False, True])
def test_a_base_is_no_address(address, listed, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("iopath.common.file_io.PathManager.open", lambda *a, **k: opened.append(a))
    (tmp_path / "a.yaml").write_text(f"_BASE_: {[address] if listed else address}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_config("a.yaml", [])
    problem = "is an address, which _BASE_ may not be; name a file there"
    assert str(caught.value) == f"{address}: {problem}"
    assert opened == []


def test_a_base_must_be_there(tmp_path):
    (tmp_path / "a.yaml").write_text("_BASE_: b.yaml\n")
    with pytest.raises(InputError, match=r"b\.yaml: no such file"):
        load_config(str(tmp_path / "a.yaml"), [])


def test_a_yaml_that_is_too_large_is_refused(tmp_path):
    text = "SEED: 3\n#"
    text += "x" * (yaml_texts.MOST_BYTES - len(text))
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "over_a.yaml").write_text("_BASE_: a.yaml\n")
    assert load_config(str(tmp_path / "over_a.yaml"), []).SEED == 3
    assert config_from_text(text, "config in a.pth").SEED == 3
    (tmp_path / "a.yaml").write_text(f"{text}x")
    for name in ("a.yaml", "over_a.yaml"):
        with pytest.raises(InputError, match=r"/a\.yaml: is larger than 1 MiB; give a config"):
            load_config(str(tmp_path / name), [])
    with pytest.raises(InputError, match=r"config in a\.pth: is longer than 1048576 characters"):
        config_from_text(f"{text}x", "config in a.pth")


def test_the_most_is_read():
    text = f"a: &a [{', '.join('1' for _ in range(98))}]\nb: [{', '.join(['*a'] * 95)}]\n"
    assert len(yaml_texts.load_yaml(text)["b"]) == 95
    with pytest.raises(ValueError, match="more than 10000"):
        yaml_texts.load_yaml(text.replace("*a]", f"{'*a, ' * 10}*a]"))

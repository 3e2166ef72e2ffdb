"""What the code may not call: a shell, an unpickler, or what runs a text as code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    *(path for name in ("selfsam_d2", "tools", "datasets") for path in (ROOT / name).rglob("*.py")),
    ROOT / "setup.py",
]
# Names with the module that they are of; a star stands for whatever follows.
NEVER = {
    *("os.system", "os.popen", "os.exec*", "os.spawn*", "commands.*", "pty.spawn"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
    *("pickle.*", "_pickle.*", "cPickle.*", "dill.*", "cloudpickle.*", "joblib.*", "shelve.*"),
    *("marshal.*", "pandas.read_pickle", "torch.jit.load", "torch.package.*", "scipy.io.loadmat"),
    *("yaml.load", "yaml.load_all", "yaml.full_load*", "yaml.unsafe_load*"),
    *("eval", "exec", "compile", "builtins.eval", "builtins.exec", "runpy.*"),
    *("detectron2.config.LazyConfig", "numpy.lib.format.read_array"),
}
# Call -> the argument that makes it safe, and its value.
ONLY_WITH = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
# Of any call: subprocess has many that take a shell, and a variable may hold anything.
NEVER_ARGUMENTS = {"shell": True, "allow_pickle": True, "allow_unsafe": True}
# Detectron2's own reader of a YAML runs what the tags in it say, unless it is told not to.
NEVER_METHODS = {"merge_from_file"}


def imported(tree: ast.AST) -> dict[str, str]:
    """Name in the file -> what it is of: np -> numpy, load -> torch.load."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return names


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """``np.load`` -> ``numpy.load``; empty for what is not a chain of names."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = full_name(node.value, names)
        return before and f"{before}.{node.attr}"
    return ""


def is_never(name: str) -> bool:
    return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in NEVER)


def unsafe(source: str) -> list[str]:
    """What a file imports, names or calls and should not; imports come first."""
    tree = ast.parse(source)
    names = imported(tree)
    found = [name for name in names.values() if is_never(name) or is_never(f"{name}.")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = full_name(node, names)
            if is_never(name):
                found.append(name)
            if isinstance(node, ast.Attribute) and node.attr in NEVER_METHODS:
                found.append(node.attr)
        if isinstance(node, ast.Call):
            found += _unsafe_arguments(node, full_name(node.func, names))
    return list(dict.fromkeys(found))


def _unsafe_arguments(call: ast.Call, name: str) -> list[str]:
    given = {each.arg: each.value for each in call.keywords if each.arg}
    found = [
        f"{key}={value}"
        for key, value in NEVER_ARGUMENTS.items()
        if key in given and not _is(given[key], not value)
    ]
    if name in ONLY_WITH:
        key, value = ONLY_WITH[name]
        if key not in given or not _is(given[key], value):
            found.append(f"{name} without {key}={value}")
    return found


def _is(node: ast.AST, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_no_file_calls_what_runs_what_it_is_given():
    assert len(SOURCES) > 200
    found = {str(path.relative_to(ROOT)): unsafe(path.read_text()) for path in SOURCES}
    assert {file: calls for file, calls in found.items() if calls} == {}


WEIGHTS_ONLY, NO_PICKLE = (
    f"{call} without {key}={value}" for call, (key, value) in ONLY_WITH.items()
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import subprocess\nsubprocess.run('a', shell=True)", ["shell=True"]),
        ("from subprocess import Popen\nPopen('a', shell=given)", ["shell=True"]),
        ("import os\nos.system('a')", ["os.system"]),
        ("import os as o\no.popen('a')", ["os.popen"]),
        ("from os import system as run\nrun('a')", ["os.system"]),
        ("import os\nos.execvp('a', ['a'])", ["os.execvp"]),
        ("import pickle", ["pickle"]),
        ("import pickle as p\np.loads(b'')", ["pickle", "pickle.loads"]),
        ("from pickle import Unpickler", ["pickle.Unpickler"]),
        ("import torch\ntorch.load('a')", [WEIGHTS_ONLY]),
        ("from torch import load\nload('a', weights_only=False)", [WEIGHTS_ONLY]),
        ("import numpy as np\nnp.load('a')", [NO_PICKLE]),
        ("from numpy import load\nload('a', allow_pickle=True)", ["allow_pickle=True", NO_PICKLE]),
        ("import yaml\nyaml.load(text, yaml.Loader)", ["yaml.load"]),
        ("import yaml\nread = yaml.unsafe_load", ["yaml.unsafe_load"]),
        ("cfg.load_yaml_with_base(path, allow_unsafe=True)", ["allow_unsafe=True"]),
        ("cfg.merge_from_file(path)", ["merge_from_file"]),
        ("from detectron2.config import LazyConfig", ["detectron2.config.LazyConfig"]),
        ("list(map(eval, texts))", ["eval"]),
        ("exec(text)", ["exec"]),
        ("import scipy.io\nscipy.io.loadmat(path)", ["scipy.io.loadmat"]),
    ],
)  # fmt: skip
def test_unsafe_calls_are_seen(source, expected):
    assert unsafe(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess\nsubprocess.run(['a'], shell=False)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import re, yaml\nre.compile('a')\nyaml.safe_load(a)\nyaml.compose(a, yaml.SafeLoader)",
        "model.eval()\nself.load(path)\nlogger.system = 3",
        "import json, os\njson.load(file)\nos.environ\nos.replace(a, b)",
    ],
)  # fmt: skip
def test_other_calls_are_not(source):
    assert unsafe(source) == []

"""The house rules that a machine can check: one-way imports, short files, short functions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "selfsam_d2"
# Each package may import those before it; `data` reads files and needs structures only.
LAYERS = (
    "errors",
    "files",
    "structures",
    "losses",
    "pseudo_labels",
    "weights",
    "modeling",
    "data",
    "evaluation",
    "visualization",
    "outputs",
    "slides",
    "config",
    "engine",
    "prediction",
)
MORE_FORBIDDEN = {"data": {"losses", "pseudo_labels", "weights", "modeling"}}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "misc"}
MAX_FILE = 300
MAX_FUNCTION = 50
SOURCES = sorted(
    path for folder in ("selfsam_d2", "tools", "datasets", "tests") for path in
    (ROOT / folder).rglob("*.py")
)  # fmt: skip


def imported_layers(path):
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "selfsam_d2" and len(parts) > 1:
                yield parts[1]


def test_the_layers_are_all_there():
    found = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    assert found - {"__init__", "__pycache__", "py"} == set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_flow_one_way(layer):
    files = [PACKAGE / f"{layer}.py"] if layer in ("errors", "files", "config") else None
    allowed = set(LAYERS[: LAYERS.index(layer) + 1]) - MORE_FORBIDDEN.get(layer, set())
    for path in files or (PACKAGE / layer).rglob("*.py"):
        assert set(imported_layers(path)) <= allowed, path


def test_files_are_short_and_named_by_what_they_hold():
    assert len(SOURCES) > 100
    too_long = {
        str(path.relative_to(ROOT)): lines
        for path in SOURCES
        if (lines := path.read_text().count("\n")) > MAX_FILE
    }
    assert too_long == {}
    assert [path for path in SOURCES if FORBIDDEN_NAMES & {path.stem, path.parent.name}] == []


def test_functions_are_short():
    too_long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                docstring = ast.get_docstring(node, clean=False)
                lines = node.end_lineno - node.lineno + 1
                if docstring is not None:
                    lines -= docstring.count("\n") + 1
                if lines > MAX_FUNCTION:
                    too_long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert too_long == {}

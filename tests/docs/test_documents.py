"""What the documents name is there: files, commands with their options, keys, functions, code."""

import contextlib
import io
import itertools
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec

from selfsam_d2 import add_selfsam_config
from selfsam_d2.modeling.nuclei_head import NUCLEI_HEAD_REGISTRY
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/*.md"))
DOCUMENTS = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *(ROOT / "configs" / "README.md", ROOT / "datasets" / "README.md", *PAGES),
]
# What was tried with files and keys of earlier commits, which it names.
HISTORY = {"experiments.md"}
LIVING = [path for path in DOCUMENTS if path.name not in HISTORY]

# These do their work whatever is typed behind them.
WITHOUT_OPTIONS = {"tools/install.py"}

LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"[\w.{}…*,/-]+\.(?:py|yaml|ipynb)\b")
COMMAND = re.compile(r"(?:tools|datasets)/\w+\.py")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
KEY = re.compile(r"\b(?:[A-Z][A-Z0-9_]*\.)+[A-Z][A-Z0-9_]*\b")
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)\b")


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


def code_spans(text):
    """Lines of code blocks, with those that end in a backslash joined, and inline code."""
    joined = re.sub(r"\\\n\s*", " ", text)
    block = re.compile(r"^```.*?^```$|^    \S[^\n]*$", flags=re.MULTILINE | re.DOTALL)
    lines = [line for found in block.findall(joined) for line in found.splitlines()]
    return lines + re.findall(r"`([^`]+)`", block.sub("", joined))


def headings(text):
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@named([*DOCUMENTS, ROOT / "CHANGELOG.md", *ROOT.glob("model_zoo/*.md")])
def test_links_lead_somewhere(path):
    for link in LINK.findall(path.read_text()):
        target, _, anchor = link.partition("#")
        if target.startswith(("http://", "https://")):
            continue
        file = (path.parent / target) if target else path
        assert file.exists(), link
        assert not anchor or anchor in headings(file.read_text()), link


def test_every_page_is_linked_from_the_readme():
    text = (ROOT / "README.md").read_text()
    missing = [path.name for path in PAGES if f"docs/{path.name}" not in text]
    assert missing == []
    assert "docs/first_steps.ipynb" in text


def expanded(name):
    """a_{b,c}.yaml -> a_b.yaml, a_c.yaml; {word} and … stand for anything."""
    parts = re.split(r"\{([^{}]+)\}", name)
    choices = [
        [part] if index % 2 == 0 else part.split(",") if "," in part else ["*"]
        for index, part in enumerate(parts)
    ]
    return ["".join(each).replace("…", "*") for each in itertools.product(*choices)]


def matches(name, places):
    """The files that a name can mean, with D or DATASET for any dataset."""
    pattern = re.sub(r"(^|/)(?:D|DATASET)_", r"\1*_", name)
    return [file for place in places for file in place.glob(pattern)]


@named(LIVING)
def test_files_that_are_named_are_there(path):
    folders = ("", "docs", "selfsam_d2", "configs", "configs/ablations")
    places = [path.parent, *(ROOT / folder for folder in folders)]
    # Pages name tests without their folder.
    tests = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    missing = [
        name
        for written in FILE.findall(path.read_text())
        for name in expanded(written.strip("./"))
        if Path(name).name not in tests and not matches(name, places)
    ]
    assert [name for name in missing if name != "config.yaml"] == []  # made by a training


@cache
def help_of(script):
    """What a command prints for --help; nothing for one that has no options."""
    if script in WITHOUT_OPTIONS:
        return ""
    printed = io.StringIO()
    kept = sys.argv, list(sys.path)
    # As when it is run: the folder of the script comes first.
    sys.argv, sys.path[:0] = [script, "--help"], [str((ROOT / script).parent)]
    try:
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / script), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = kept
    assert not stop.value.code
    return printed.getvalue()


def shown_options(path):
    """(command, option) for each option behind the name of a command in code."""
    for line in code_spans(path.read_text()):
        found = [*COMMAND.finditer(line)]
        for match, following in itertools.zip_longest(found, found[1:]):
            end = following.start() if following else len(line)
            for option in OPTION.findall(line[match.end() : end].split(" #")[0]):
                yield match.group(), option


@named(LIVING)
def test_commands_know_the_options_that_are_shown(path):
    unknown = [
        f"{script} {option}"
        for script, option in dict.fromkeys(shown_options(path))
        if option not in OPTION.findall(help_of(script))
    ]
    assert unknown == []


@named(LIVING)
def test_options_that_are_named_alone_are_known_to_a_command(path):
    spans = [line for line in code_spans(path.read_text()) if line.startswith("--")]
    known = {
        option
        for script in sorted([*ROOT.glob("tools/*.py"), *ROOT.glob("datasets/*.py")])
        for option in OPTION.findall(help_of(str(script.relative_to(ROOT))))
    }
    assert [span for span in spans if not known.issuperset(OPTION.findall(span))] == []


def test_options_are_looked_for_where_they_are_shown():
    shown = set(shown_options(ROOT / "README.md"))
    assert ("tools/train_net.py", "--register") in shown  # behind a backslash
    assert ("datasets/prepare_points.py", "--points") in shown
    assert "--weights" in help_of("tools/predict.py")
    assert "--no-such-option" not in help_of("tools/predict.py")


def leaves(node, prefix=""):
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")


@pytest.fixture(scope="module")
def keys():
    cfg = get_cfg()
    add_selfsam_config(cfg)
    return set(leaves(cfg))


@named(LIVING)
def test_keys_that_are_named_exist(path, keys):
    sections = {key.split(".")[0] for key in keys}
    found = KEY.findall("\n".join(code_spans(path.read_text())))
    unknown = [key for key in found if key.split(".")[0] in sections and key not in keys]
    # Where a key is shown as INPUT.MIN_SIZE_* the pattern is what must exist.
    assert [key for key in unknown if not any(each.startswith(key) for each in keys)] == []


@named(LIVING)
def test_targets_of_make_exist(path):
    makefile = (ROOT / "Makefile").read_text()
    for target in TARGET.findall("\n".join(code_spans(path.read_text()))):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def table_of(path, title):
    """The cells of the rows below a heading."""
    section = path.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


@pytest.mark.parametrize(
    ("page", "title"),
    [("README.md", "From the paper to the code"), ("docs/design.md", "One training step")],
)
def test_functions_of_the_tables_stand_in_the_files_beside_them(page, title):
    rows = table_of(ROOT / page, title)
    assert len(rows) > 8
    for _, cell, *_ in rows:
        spans = re.findall(r"`([^`]+)`", cell)
        files = [ROOT / "selfsam_d2" / span for span in spans if "/" in span]
        source = "\n".join(file.read_text() for file in files if file.suffix == ".py")
        for name in (span for span in spans if "/" not in span):
            assert re.search(rf"^(?:def|class) {name}\b", source, flags=re.MULTILINE), cell


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL)


@named([path for path in DOCUMENTS if python_blocks(path)])
def test_python_is_python_and_its_imports_work(path):
    for block in python_blocks(path):
        compile(block, str(path), "exec")
        imports = [line for line in block.splitlines() if re.match(r"(?:from \S+ )?import ", line)]
        exec("\n".join(imports), {})


def example(page, word):
    """The names that a block of Python defines."""
    (block,) = (each for each in python_blocks(ROOT / "docs" / page) if word in each)
    names = {"__name__": "example"}
    exec(block, names)
    return names


def test_the_figures_in_the_page_of_metrics_are_right():
    assert "found" in example("metrics.md", "nuclei_metrics(")


def test_the_label_maker_of_the_page_of_design_makes_labels():
    try:
        maker = example("design.md", "class DiskLabels")["DiskLabels"](None)
        assert PSEUDO_LABEL_REGISTRY.get("DiskLabels") is type(maker)
    finally:
        PSEUDO_LABEL_REGISTRY._obj_map.pop("DiskLabels", None)
    points = torch.tensor([[5.5, 7.5], [15.5, 7.5]])
    label = maker.prompt_label(
        torch.zeros(3, 16, 24), points, points, base=None, adapted=None, alpha=0.0
    )
    disk = [(x, y) for x in range(-5, 6) for y in range(-5, 6) if x * x + y * y < 36]
    # One column of pixels is within 6 px of both points.
    shared = int(((label.labels == -1)[:, 10]).sum())
    assert (label.labels == -1).sum() == shared > 0
    assert [int((label.labels == k).sum()) for k in (1, 2)] == [len(disk) - shared] * 2
    assert torch.equal(maker.instance_label(label, torch.zeros(16, 24)).labels, label.labels)


def test_the_head_of_the_page_of_backbones_gives_three_maps():
    try:
        head = example("backbone_elsewhere.md", "class PlainHead")["PlainHead"]
        built = head(None, {"p2": ShapeSpec(channels=4, stride=4)})
        assert NUCLEI_HEAD_REGISTRY.get("PlainHead") is head
    finally:
        NUCLEI_HEAD_REGISTRY._obj_map.pop("PlainHead", None)
    assert built(torch.zeros(2, 4, 5, 6)).shape == (2, 3, 5, 6)

"""The page of public names, the names themselves, their docstrings and types."""

import inspect
import re
import runpy
from importlib import resources
from pathlib import Path

import pytest
import setuptools
from detectron2.utils.registry import Registry

import selfsam_d2
from selfsam_d2.modeling.nuclei_head import NUCLEI_HEAD_REGISTRY
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "public_names.md").read_text()


def test_the_page_lists_the_public_names_and_no_other():
    listed = [
        name
        for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(listed) == sorted(selfsam_d2.__all__)


@pytest.mark.parametrize("name", selfsam_d2.__all__)
def test_a_public_name_has_a_docstring_and_types(name):
    thing = getattr(selfsam_d2, name)
    assert len(inspect.getdoc(thing) or "") > 20
    assert thing.__module__.startswith("selfsam_d2.")
    call = thing.__init__ if inspect.isclass(thing) else thing
    if issubclass(thing, Exception) if inspect.isclass(thing) else False:
        return
    untyped = [
        parameter.name
        for parameter in inspect.signature(call).parameters.values()
        if parameter.annotation is inspect.Parameter.empty and parameter.name != "self"
    ]
    # Detectron2's `configurable` passes on what it is given.
    assert [each for each in untyped if each not in ("args", "kwargs")] == []


@pytest.mark.parametrize("registry", [NUCLEI_HEAD_REGISTRY, PSEUDO_LABEL_REGISTRY])
def test_the_registries_of_our_own_are_named(registry):
    assert isinstance(registry, Registry)
    assert f"{registry._name}_REGISTRY" in PAGE
    (place,) = re.findall(rf"`(selfsam_d2\.[\w.]+)\.{registry._name}_REGISTRY`", PAGE)
    assert getattr(__import__(place, fromlist=["_"]), f"{registry._name}_REGISTRY") is registry


def test_type_checkers_of_users_find_the_types(monkeypatch):
    assert resources.files(selfsam_d2).joinpath("py.typed").is_file()
    monkeypatch.chdir(ROOT)
    given = []
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.append(options))
    runpy.run_path(str(ROOT / "setup.py"))
    (options,) = given
    # Setuptools takes it in by itself since version 69; one that does not must be told.
    assert "py.typed" in options["package_data"]["selfsam_d2"]

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "install.py"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The installer, working on a folder of its own."""
    specification = importlib.util.spec_from_file_location("selfsam_install", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    environment = tmp_path / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    declaration = tmp_path / "setup.py"
    declaration.write_text("one")
    monkeypatch.setattr(module, "ENVIRONMENT", environment)
    monkeypatch.setattr(module, "LOG", environment / "install.log")
    monkeypatch.setattr(module, "MARKER", environment / "installed")
    monkeypatch.setattr(module, "DECLARATIONS", (declaration,))
    return module


def stub_steps(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    for name in ("make_environment", "install_package", "install_detectron2"):
        monkeypatch.setattr(module, name, lambda name=name: done.append(name))
    return done


def test_a_second_run_does_nothing_until_a_declaration_changes(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = stub_steps(install, monkeypatch)
    install.install()
    assert done == ["make_environment", "install_package", "install_detectron2"]
    install.install()
    assert len(done) == 3
    (tmp_path / "setup.py").write_text("two")
    install.install()
    assert len(done) == 6


def test_a_failed_step_leaves_no_marker(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub_steps(install, monkeypatch)

    def fail() -> None:
        raise install.InstallError("no\nway")

    monkeypatch.setattr(install, "install_detectron2", fail)
    with pytest.raises(SystemExit) as stopped:
        install.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: no way\n"
    assert not install.MARKER.exists()


def test_an_installed_detectron2_wins(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "has_detectron2", lambda: True)
    monkeypatch.setattr(install, "detectron2_from_git", lambda: pytest.fail("tried git"))
    install.install_detectron2()


def test_sources_are_tried_in_order_until_one_works(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "has_detectron2", lambda: False)
    monkeypatch.setattr(install, "detectron2_from_git", lambda: "not reachable")
    monkeypatch.setattr(install, "detectron2_from_pypi", lambda: "")
    install.install_detectron2()
    said = capsys.readouterr().out
    assert said.index("official repository") < said.index("not reachable")
    assert said.index("not reachable") < said.index("installed from the republication on PyPI")

    monkeypatch.setattr(install, "detectron2_from_pypi", lambda: "wrong hash")
    with pytest.raises(install.InstallError, match=r"not reachable.*wrong hash"):
        install.install_detectron2()


def test_a_git_host_that_does_not_answer_is_left_after_the_time_out(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nexec sleep 20\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(install, "GIT_REPLY_TIMEOUT_S", 0.2)
    assert "timed out" in install.detectron2_from_git()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert install.detectron2_from_git() == "git is not installed"


def test_an_old_python_and_one_without_venv_are_named(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "OLDEST_PYTHON", (99, 0))
    with pytest.raises(install.InstallError, match=r"Python 3\.10 or newer"):
        install.make_environment()
    monkeypatch.setattr(install, "OLDEST_PYTHON", (3, 10))
    install.environment_python().unlink()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(install.InstallError, match="apt-get install python3-venv"):
        install.make_environment()


def test_the_error_that_is_reported_is_the_last_one_with_content(install: ModuleType) -> None:
    install.LOG.write_text(
        "ERROR: the first\nsome output\nERROR: the cause\nERROR: for help visit a page\nend\n"
    )
    assert install.last_error() == "the cause"


def test_one_source_may_be_asked_for(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "has_detectron2", lambda: False)
    monkeypatch.setattr(install, "detectron2_from_git", lambda: "not reachable")
    monkeypatch.setattr(install, "detectron2_from_pypi", lambda: pytest.fail("tried PyPI"))
    monkeypatch.setattr(install, "DETECTRON2_SOURCE", "git")
    with pytest.raises(install.InstallError, match="not reachable"):
        install.install_detectron2()
    assert "PyPI" not in capsys.readouterr().out


def test_a_source_that_cannot_be_had_is_named_before_anything_is_installed(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = stub_steps(install, monkeypatch)
    monkeypatch.setattr(install, "git_problem", lambda: "not reachable")
    install.check_source()
    monkeypatch.setattr(install, "DETECTRON2_SOURCE", "git")
    with pytest.raises(install.InstallError, match=r"official repository .*: not reachable"):
        install.install()
    assert done == ["make_environment"]
    monkeypatch.setattr(install, "DETECTRON2_SOURCE", "conda")
    with pytest.raises(install.InstallError, match="SELFSAM_DETECTRON2 conda: expected git or"):
        install.check_source()

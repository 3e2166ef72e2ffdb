"""Make .venv and install this package, its dependencies and Detectron2 into it.

Runs with the standard library alone, before anything is installed. A second run costs nothing as
long as the files that say what to install have not changed. The variable ``SELFSAM_VENV`` names
another folder than .venv, and ``SELFSAM_DETECTRON2`` the one source of Detectron2 that is to be
used, ``git`` or ``pypi``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = Path(os.environ.get("SELFSAM_VENV") or REPOSITORY / ".venv").absolute()
DETECTRON2_SOURCE = os.environ.get("SELFSAM_DETECTRON2", "")
LOG = ENVIRONMENT / "install.log"
MARKER = ENVIRONMENT / "installed"
CONSTRAINTS = REPOSITORY / "constraints.txt"
PYPI_DETECTRON2 = REPOSITORY / "requirements-detectron2.txt"
DECLARATIONS = (
    REPOSITORY / "setup.py",
    REPOSITORY / "pyproject.toml",
    CONSTRAINTS,
    PYPI_DETECTRON2,
    Path(__file__).resolve(),
)

OLDEST_PYTHON = (3, 10)
GIT_URL = "https://github.com/facebookresearch/detectron2.git"
GIT_COMMIT = "e0ec4e189d438848521aee7926f9900e114229f5"
GIT_REPLY_TIMEOUT_S = 20
BUILD_TIMEOUT_S = 1800
IMPORT_TIMEOUT_S = 300
EXIT_STATUS = 2


class InstallError(Exception):
    """What could not be installed; the message is one line."""


def say(line: str) -> None:
    """One line of progress on stdout."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def environment_python() -> Path:
    """The interpreter inside .venv."""
    windows = ENVIRONMENT / "Scripts" / "python.exe"
    return windows if os.name == "nt" else ENVIRONMENT / "bin" / "python"


def state_of_declarations() -> str:
    """Hash over what decides what gets installed, and over the place (the install is editable)."""
    place = f"{REPOSITORY} {sys.version_info[:2]} {DETECTRON2_SOURCE}"
    digest = hashlib.sha256(place.encode())
    for path in DECLARATIONS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run_logged(command: list[str], timeout: float, **variables: str) -> bool:
    """Run a command with its output added to the log; whether it succeeded."""
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                env={**os.environ, **variables},
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            log.write(f"ERROR: {error}\n")
            return False
    return done.returncode == 0


def last_error() -> str:
    """The last line of the log that states an error, shortened."""
    lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines()
    stated = [
        line.strip()
        for line in lines
        if ("error:" in line.lower() or "fatal:" in line) and "for help visit" not in line
    ]
    last = (stated or ["no error was stated"])[-1]
    return re.sub("^(fatal|error): ", "", last, flags=re.IGNORECASE)[:200]


def pip_install(*arguments: str, timeout: float = BUILD_TIMEOUT_S) -> bool:
    """Run pip in the environment; whether it succeeded."""
    command = [str(environment_python()), "-m", "pip", "install", "--no-input"]
    return run_logged(
        [*command, "--disable-pip-version-check", "--progress-bar=off", *arguments], timeout
    )


def make_environment() -> None:
    """Make .venv, unless a working one is there.

    Raises:
        InstallError: this Python is too old or has no ``venv``.
    """
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise InstallError(
            f"Python 3.10 or newer is needed and this is {found}: make PYTHON=python3.11 install"
        )
    if environment_python().exists():
        ENVIRONMENT.mkdir(exist_ok=True)
        if run_logged([str(environment_python()), "-m", "pip", "--version"], IMPORT_TIMEOUT_S):
            return
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise InstallError(
            f"this Python has no {missing[0]}; on Debian or Ubuntu: apt-get install python3-venv"
        )
    say(f"making {ENVIRONMENT.name}")
    done = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr + done.stdout).split("\n")
        raise InstallError(
            f"{ENVIRONMENT} cannot be made: {next(filter(str.strip, lines), 'no message')}"
        )


def install_package() -> None:
    """Install this package, editable, with its dependencies and the tools for tests and checks.

    Raises:
        InstallError: pip failed.
    """
    say(f"installing selfsam_d2 and its dependencies (3 to 4 minutes, 7 GB; log: {LOG})")
    if not pip_install("--constraint", str(CONSTRAINTS), "--editable", f"{REPOSITORY}[dev]"):
        raise InstallError(f"the dependencies cannot be installed: {last_error()}; see {LOG}")


def has_detectron2() -> bool:
    """Whether Detectron2 works: tested by what is used of it, since its version says little."""
    code = "import detectron2.engine, detectron2.evaluation, detectron2.modeling"
    return run_logged([str(environment_python()), "-c", code], IMPORT_TIMEOUT_S)


def git_problem() -> str:
    """Why the official repository cannot be reached, empty if it can."""
    if shutil.which("git") is None:
        return "git is not installed"
    reachable = run_logged(
        ["git", "ls-remote", "--exit-code", GIT_URL, "HEAD"],
        GIT_REPLY_TIMEOUT_S,
        GIT_TERMINAL_PROMPT="0",
    )
    return "" if reachable else f"not reachable ({last_error()})"


def detectron2_from_git() -> str:
    """Build Detectron2 from its official repository at a fixed commit.

    Returns:
        What went wrong, empty if nothing did.
    """
    if problem := git_problem():
        return problem
    say("  building it (a few minutes)")
    # Without its dependencies: it asks for numpy < 2, which what is used of it does not need.
    built = pip_install("--no-deps", "--no-build-isolation", f"git+{GIT_URL}@{GIT_COMMIT}")
    if built and has_detectron2():
        return ""
    reason = last_error()
    pip = [str(environment_python()), "-m", "pip", "uninstall", "--yes", "detectron2"]
    run_logged(pip, BUILD_TIMEOUT_S)
    return f"it cannot be built ({reason})"


def detectron2_from_pypi() -> str:
    """Unpack the republication on PyPI, whose wheel holds Python files for any Python version.

    Returns:
        What went wrong, empty if nothing did.
    """
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = subprocess.run(
        [str(environment_python()), "-c", code], capture_output=True, text=True, check=True
    )
    unpacked = pip_install(
        "--no-deps",
        "--upgrade",
        "--target",
        target.stdout.strip(),
        "--python-version=3.10",
        "--only-binary=:all:",
        "--require-hashes",
        "--requirement",
        str(PYPI_DETECTRON2),
    )
    if not unpacked:
        return f"it cannot be installed ({last_error()})"
    return "" if has_detectron2() else f"it does not work ({last_error()})"


def check_source() -> None:
    """See that the one source that is asked for can be had, before 7 GB are installed for it.

    Raises:
        InstallError: it is unknown or cannot be reached.
    """
    if DETECTRON2_SOURCE not in ("", "git", "pypi"):
        raise InstallError(f"SELFSAM_DETECTRON2 {DETECTRON2_SOURCE}: expected git or pypi")
    if DETECTRON2_SOURCE == "git" and (problem := git_problem()):
        raise InstallError(f"official repository of Detectron2: {problem}; see {LOG}")


def install_detectron2() -> None:
    """Have a working Detectron2: an installed one, else the first source that brings one.

    Raises:
        InstallError: no source does.
    """
    if has_detectron2():
        say("Detectron2: the installed one works and is kept")
        return
    sources = {
        "git": (f"official repository at {GIT_COMMIT[:8]}", detectron2_from_git),
        "pypi": ("republication on PyPI", detectron2_from_pypi),
    }
    failures = []
    for key, (name, attempt) in sources.items():
        if DETECTRON2_SOURCE not in ("", key):
            continue
        say(f"Detectron2: trying the {name}")
        problem = attempt()
        if not problem:
            say(f"Detectron2: installed from the {name}")
            return
        failures.append(f"{name}: {problem}")
        say(f"Detectron2: {failures[-1]}; this source is left out")
    raise InstallError(f"Detectron2 cannot be had ({'; '.join(failures)}); see {LOG}")


def install() -> None:
    """Install whatever is missing.

    Raises:
        InstallError: a part cannot be had.
    """
    state = state_of_declarations()
    if MARKER.is_file() and environment_python().exists() and MARKER.read_text() == state:
        say(f"{ENVIRONMENT.name}: all is installed")
        return
    start = time.monotonic()
    make_environment()
    check_source()
    install_package()
    install_detectron2()
    MARKER.write_text(state)
    say(f"installed in {time.monotonic() - start:.0f} s; scripts are run by {environment_python()}")


def main() -> None:
    """Install, or say in one line on stderr why not; exit status 2 then."""
    try:
        install()
    except InstallError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        raise SystemExit(EXIT_STATUS) from None
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or ENVIRONMENT}: {error.strerror}\n")
        raise SystemExit(EXIT_STATUS) from None
    except KeyboardInterrupt:
        sys.stderr.write("stopped from the keyboard\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()

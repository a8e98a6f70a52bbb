"""What has to be on the disk before a library's tests can run: its environment and its suite.

Everything goes under ``build/apps`` and stays there: a later run finds it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library import HERE, Library, requirements_of

ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "apps"
VERSION = "{}.{}".format(*sys.version_info[:2])
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


class CannotPrepare(Exception):
    """A library's tests cannot be run at all."""


@dataclass(frozen=True)
class Installation:
    """Where everything of a library is."""

    python: Path
    """The interpreter of its environment."""
    packages: Path
    """Where that keeps what is installed."""
    suite: Path | None
    """Its tests; None when they are installed with it."""
    logs: Path


def directory_of(library: Library) -> Path:
    """Return the directory for what is a library's, for this version of Python."""
    return BUILD / VERSION / library.name


def copy_ferrio(directory: Path) -> None:
    """Copy this Python's ferrio to a directory that is to be on the path of the libraries' tests.

    The environment that has ferrio has other packages besides.
    """
    found = importlib.util.find_spec("ferrio")
    if found is None or found.origin is None:
        raise CannotPrepare(f"{sys.executable} cannot import ferrio")
    shutil.copytree(
        Path(found.origin).parent,
        directory / "ferrio",
        ignore=shutil.ignore_patterns("__pycache__"),
    )


def prepare(library: Library) -> Installation:
    """Make the library's environment and unpack its suite, unless that has been done."""
    directory = directory_of(library)
    directory.mkdir(parents=True, exist_ok=True)
    environment = directory / "environment"
    install(library, directory, environment)
    suites = {"sdist": directory / "suite", "programs": HERE / "programs", "installed": None}
    return Installation(
        environment / "bin" / "python",
        environment / "lib" / f"python{VERSION}" / "site-packages",
        suites[library.suite],
        directory,
    )


def install(library: Library, directory: Path, environment: Path) -> None:
    """Do what has not been done yet."""
    requirements = requirements_of(library.name)
    wanted = hashlib.sha256(requirements.read_bytes() + repr(library.take).encode()).hexdigest()
    stamp = directory / "prepared"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print(f"Preparing {library.name} {library.version}", flush=True)
    stamp.unlink(missing_ok=True)
    make_environment(environment, requirements)
    if library.suite == "sdist":
        unpack(library, directory / "suite")
    stamp.write_text(wanted, encoding="utf-8")


def make_environment(environment: Path, requirements: Path) -> None:
    """Install the pinned requirements, into a new environment if there is none."""
    python = environment / "bin" / "python"
    if not python.exists():
        base = getattr(sys, "_base_executable", sys.executable)
        run([base, "-m", "venv", "--clear", environment])
    run([python, *PIP, "install", "--prefer-binary", "--requirement", requirements])


def unpack(library: Library, suite: Path) -> None:
    """Get the sdist and unpack what is wanted of it."""
    sdist = download(library)
    shutil.rmtree(suite, ignore_errors=True)
    suite.mkdir()
    with tarfile.open(sdist) as archive:
        members = []
        for member in archive.getmembers():
            member.name = member.name.partition("/")[2]
            if any(member.name == one or member.name.startswith(f"{one}/") for one in library.take):
                members.append(member)
        archive.extractall(suite, members, filter="data")
    missing = [one for one in library.take if not (suite / one).exists()]
    if missing:
        raise CannotPrepare(f"{sdist.name} has no {', '.join(missing)}")


def download(library: Library) -> Path:
    """Return the pinned sdist, from the package index unless it is here already."""
    directory = BUILD / "sdists" / f"{library.distribution}-{library.version}"
    if not list(directory.glob("*.tar.gz")):
        name = library.distribution
        options = ("--no-deps", "--no-binary", name, "--dest", str(directory))
        run([sys.executable, *PIP, "download", *options, f"{name}=={library.version}"])
    return next(directory.glob("*.tar.gz"))


def run(command: Sequence[str | Path]) -> None:
    """Run a command that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        words = " ".join(str(word) for word in command)
        raise CannotPrepare(f"{words} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

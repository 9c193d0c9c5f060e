"""Packstack itself, on this machine: its own parser, validators, processors and steps.

12.0.2 is the Queens release and 15.1.0 that of Train; those between are not on the package index.

The hosts are stubbed: nothing is sent to them, and ssh, rpm and the like are fakes that say yes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from labkit.host.files import cache_root
from labkit.host.process import run
from labkit.lab.topology import Release

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labkit.host.process import CommandResult

SOURCES = Path(__file__).parents[2] / "boxes" / "rehearsal" / "packstack"
FAKES = Path(__file__).parents[1] / "fakes" / "packstack_host"
NEEDS_LIB2TO3 = pytest.mark.skipif(
    find_spec("lib2to3") is None,
    reason="Packstack 12.0.2 is Python 2, and Python 3.13 and newer have no lib2to3",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A release of Packstack on the Python package index.

    Attributes:
        requirements: The file that pins it, by its hash.
        ways: The module that lets it run on this Python.
        python2: Whether it has to be converted from Python 2 first.
    """

    requirements: Path
    ways: Path
    python2: bool


RELEASES: Mapping[Release, Published] = {
    Release.QUEENS: Published(
        requirements=SOURCES / "requirements.txt",
        ways=SOURCES / "python2_ways.py",
        python2=True,
    ),
    Release.TRAIN: Published(
        requirements=Path(__file__).with_name("packstack-train-requirements.txt"),
        ways=FAKES / "train_ways.py",
        python2=False,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of Packstack left.

    Attributes:
        returncode: Its exit status.
        output: What it printed, standard error after standard output.
        conf: Its effective configuration; empty when it ended before it had one.
    """

    returncode: int
    output: str
    conf: Mapping[str, str]


def fetched(published: Published) -> Path:
    """Return the unpacked Packstack that pinned requirements name, ready to run.

    It is fetched from the Python package index once and kept in labkit's cache.
    """
    text = published.requirements.read_text(encoding="utf-8")
    pinned = text.partition("sha256:")[2].strip()
    inputs = text.encode()
    if published.python2:
        inputs = b"".join(
            path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file()
        )
    import hashlib  # noqa: PLC0415 -- beside its only use

    place = cache_root() / "tests" / f"{pinned[:16]}-{hashlib.sha256(inputs).hexdigest()[:16]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.exists():
            aside = place.with_suffix(".new")
            shutil.rmtree(aside, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
            run([*pip, "-r", published.requirements, "-d", aside], timeout=300)
            for wheel in sorted(aside.glob("*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(aside)
            if published.python2:
                run([sys.executable, "-W", "ignore", SOURCES / "convert", aside], timeout=300)
            aside.rename(place)
    return place


def judged(
    home: Path, values: Sequence[tuple[str, str]], *, release: Release = Release.QUEENS
) -> list[str | None]:
    """Return, for each key and value of an answer file, why Packstack refuses it, or None.

    Args:
        home: A directory it may write to.
        values: The keys and their values.
        release: Whose Packstack; one of RELEASES.
    """
    _run(release, home, ["judge"], stdin=json.dumps(list(values)))
    found: list[str | None] = json.loads((home / "conf.json").read_text(encoding="utf-8"))
    assert len(found) == len(values)
    return found


def packstack(
    home: Path,
    *arguments: str | Path,
    host: Mapping[str, str] | None = None,
    release: Release = Release.QUEENS,
) -> Outcome:
    """Run Packstack with these arguments and return what became of it.

    Args:
        home: A directory it may write to: its home, its logs.
        arguments: Its arguments.
        host: Shell scripts by the names of tools, which take the place of the fakes.
        release: Whose Packstack; one of RELEASES.
    """
    for name, script in (host or {}).items():
        tool = home / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        tool.chmod(0o755)
    result = _run(release, home, arguments)
    conf = home / "conf.json"
    return Outcome(
        returncode=result.returncode,
        output=f"{result.stdout}{result.stderr}",
        conf=json.loads(conf.read_text(encoding="utf-8")) if conf.exists() else {},
    )


def _run(
    release: Release, home: Path, arguments: Sequence[str | Path], *, stdin: str = ""
) -> CommandResult:
    published = RELEASES[release]
    tree = fetched(published)
    conf = home / "conf.json"
    conf.unlink(missing_ok=True)
    (home / "puppet" / "modules").mkdir(parents=True, exist_ok=True)
    (home / ".ssh").mkdir(exist_ok=True)
    (home / ".ssh" / "id_rsa.pub").write_text("ssh-rsa AAAA root@controller\n", encoding="utf-8")
    return run(
        [sys.executable, FAKES / "launch.py", tree, published.ways, home, conf, *arguments],
        timeout=120,
        check=False,
        stdin=stdin,
        cwd=home,
        env={
            "HOME": str(home),
            "PATH": f"{home / 'bin'}:{FAKES / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCES),
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PACKSTACK_PUPPETDIR": str(home / "puppet"),
        },
    )

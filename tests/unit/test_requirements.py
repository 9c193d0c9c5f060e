"""requirements.lock suits the oldest Python that the README promises."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution, requires

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.support.examples import ROOT

LOCKED = re.findall(
    r"^([a-z0-9][^=\s]*)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
)
OLDEST = "3.11.2"  # Debian 12's


def test_oldest_python_of_readme_and_of_the_package_are_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["requires-python"] == f">={OLDEST}"
    assert f"- Python {OLDEST} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_distribution_is_not_called_as_another_project_and_its_command_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["name"] == "labkit-openstack"
    assert list(project["scripts"]) == ["labkit"]


@pytest.mark.parametrize(("name", "version"), LOCKED)
def test_locked_package_installs_on_the_oldest_python(name: str, version: str) -> None:
    found = distribution(name)

    assert found.version == version, "run 'make setup'"
    assert SpecifierSet(found.metadata["Requires-Python"] or "").contains(OLDEST)


@pytest.mark.parametrize("python", [OLDEST, "3.12.0", "3.13.0", "3.14.0"])
def test_lock_has_what_its_packages_need_on_every_python_of_setup(python: str) -> None:
    names = {name for name, _version in LOCKED}
    here = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "extra": "",
    }
    needed = {
        canonicalize_name(wanted.name): name
        for name in names
        for wanted in map(Requirement, requires(name) or ())
        if wanted.marker is None or wanted.marker.evaluate(here)
    }

    assert {need: user for need, user in needed.items() if need not in names} == {}


def test_lock_has_all_that_is_promised() -> None:
    assert len(LOCKED) > 50

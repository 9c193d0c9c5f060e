"""`labkit doctor --repos` against a mirror on the loopback."""

from __future__ import annotations

import gzip
import json
import sys
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import environment, run
from labkit.lab import signing_keys
from labkit.lab.topology import Release
from labkit.lifecycle.doctor import CHECKS
from labkit.lifecycle.repositories import PACKAGE
from tests.fakes.mirror import FakeMirror, mirroring
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.host.process import CommandResult

pytestmark = pytest.mark.integration

ARMORED = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"
NOBODY = "http://127.0.0.1:1/centos"


@pytest.fixture
def mirror() -> Iterator[FakeMirror]:
    with mirroring() as held:
        yield held


def doctor(
    directory: Path, base: str, fallback: str, *words: str, proxy: str = "", keys: str = ""
) -> CommandResult:
    text = (ROOT / "lab.yaml").read_text()
    text += f"\nrepos:\n  base: {base}\n  fallbacks: [{fallback}]\n"
    text += f"  proxy: {proxy}\n" if proxy else ""
    if keys:
        names = signing_keys.names(Release.QUEENS)
        for name in names:
            (directory / name).write_text(keys)
        text += f"  keys: [{', '.join(names)}]\n"
    (directory / "lab.yaml").write_text(text)
    return run(
        [sys.executable, "-m", "labkit", "doctor", "--repos", *words],
        cwd=directory,
        env=environment(PYTHONPATH=str(ROOT), COLUMNS="200"),
        check=False,
        timeout=60,
    )


def test_host_is_examined_whatever_it_lacks_and_the_exit_code_says_what_was_found(
    tmp_path: Path,
) -> None:
    done = run(
        [sys.executable, "-m", "labkit", "doctor", "--json"],
        cwd=ROOT,
        env=environment(LABKIT_CACHE_DIR=str(tmp_path), LABKIT_STATE_DIR=str(tmp_path / "state")),
        check=False,
        timeout=100,
    )
    found = {item["check"]: item for item in json.loads(done.stdout)["findings"]}
    assert list(found) == [check.__name__ for check in CHECKS]
    problems = [name for name, item in found.items() if item["level"] == "problem"]
    assert done.returncode == (3 if problems else 0), done.stderr
    assert all(name in done.stderr for name in problems)
    assert found["box_built"]["fix"] == "Run 'labkit box build centos7'."
    assert not (tmp_path / "state").exists()


def test_repos_says_per_place_and_repository_what_answers(
    mirror: FakeMirror, tmp_path: Path
) -> None:
    done = doctor(tmp_path, NOBODY, mirror.url, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["chosen"] == f"{mirror.url}/7.9.2009"
    assert [item["usable"] for item in found["repositories"]] == [False] * 7 + [True] * 7
    assert all("refused" in item["said"] for item in found["repositories"][:7])
    assert [item["repository"] for item in found["repositories"][6::7]] == [PACKAGE] * 2
    assert found["repositories"][13]["url"].endswith("/extras/x86_64/repodata/primary.xml.gz")
    assert len(mirror.requests) == len({*mirror.requests}) == 7


def test_repos_without_a_complete_place_exits_with_3_and_shows_what_lacks(
    mirror: FakeMirror, tmp_path: Path
) -> None:
    mirror.missing = ["/virt/"]
    done = doctor(tmp_path, mirror.url, NOBODY)
    assert done.returncode == 3
    assert "kvm-common" in done.stdout
    assert "answered 404" in done.stdout
    assert "No place has every repository" in done.stderr


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (FakeMirror(listed=gzip.compress(b"<metadata/>")), "extras does not list 'centos-rel"),
        (FakeMirror(listed=b"<html>"), "extras' list of packages is broken"),
        (FakeMirror(missing=["primary"]), "answered 404"),
        (FakeMirror(body=b"<repomd/>"), "extras' repomd.xml names no list of packages"),
    ],
)
def test_repos_place_without_the_release_package_is_no_place_and_the_way_round_is_named(
    held: FakeMirror, said: str, tmp_path: Path
) -> None:
    with mirroring(held):
        done = doctor(tmp_path, held.url, NOBODY, "--json")
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert told["error"]["exit_code"] == 3
    (row,) = (
        each
        for each in told["repositories"]
        if each["repository"] == PACKAGE and held.url in each["place"]
    )
    assert not row["usable"]
    assert row["said"].startswith(said)
    assert "lacks the package that brings the signing keys" in done.stderr
    assert "repos.keys" in done.stderr


def test_repos_with_keys_asks_for_no_release_package(mirror: FakeMirror, tmp_path: Path) -> None:
    mirror.missing = ["primary"]
    done = doctor(tmp_path, mirror.url, NOBODY, "--json", keys=ARMORED)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["repositories"]
    assert PACKAGE not in {row["repository"] for row in rows}


def test_repos_file_that_holds_no_key_is_named_with_what_it_holds(
    mirror: FakeMirror, tmp_path: Path
) -> None:
    done = doctor(tmp_path, mirror.url, NOBODY, keys="-----BEGIN PGP PRIVATE KEY BLOCK-----\n")
    assert done.returncode == 2
    told = " ".join(done.stderr.split())
    assert told.count("found a private key, which belongs to its owner alone") == 3
    assert "RPM-GPG-KEY-CentOS-SIG-Storage" in told


def test_repos_without_a_network_says_that_it_is_the_network(tmp_path: Path) -> None:
    done = doctor(tmp_path, NOBODY, NOBODY)
    assert done.returncode == 3
    assert "Not a single server answers" in done.stderr
    assert "repos.proxy" in done.stderr


def test_repos_redirection_within_a_protocol_is_followed_and_to_another_is_not(
    mirror: FakeMirror, tmp_path: Path
) -> None:
    host = mirror.url.removesuffix("/centos")
    with mirroring(FakeMirror(redirect=host)) as away:
        assert doctor(tmp_path, away.url, NOBODY).returncode == 0
    with mirroring(FakeMirror(redirect="https://127.0.0.1:1")) as away:
        done = doctor(tmp_path, away.url, NOBODY)
    assert done.returncode == 3
    assert "which yum does not follow" in " ".join(done.stdout.split())


def test_repos_goes_by_the_proxy_and_shows_no_password(mirror: FakeMirror, tmp_path: Path) -> None:
    proxy = mirror.url.removesuffix("/centos").replace("http://", "http://me:s3cret@")
    base = "http://u:s3cret@mirror.invalid/c"
    done = doctor(tmp_path, base, base, proxy=proxy)
    assert done.returncode == 0, done.stderr
    assert "mirror.invalid/c/7.9.2009/os/x86_64/repodata/repomd.xml" in " ".join(mirror.requests)
    assert "s3cret" not in done.stdout + done.stderr

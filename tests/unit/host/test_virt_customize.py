"""What virt-customize is asked, and what its failures come to; a script stands in for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import CommandError, HostError, LabkitError
from labkit.host import virt_customize


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that takes virt-customize's place; what it does is written by the test."""
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.delenv("LIBGUESTFS_BACKEND_SETTINGS", raising=False)
    return tools / virt_customize.PROGRAM


def write(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/bash\n{text}\n")
    program.chmod(0o755)


def test_command_runs_the_scripts_in_their_order_without_a_network(tmp_path: Path) -> None:
    disk = tmp_path / "-a b.qcow2"
    assert virt_customize.command(disk, ["first", "second"]) == (
        *("virt-customize", "--no-network", "--format", "qcow2", "--add", str(disk)),
        *("--upload", "first:/root/labkit-first", "--run-command", "bash /root/labkit-first"),
        *("--delete", "/root/labkit-first"),
        *("--upload", "second:/root/labkit-second", "--run-command", "bash /root/labkit-second"),
        *("--delete", "/root/labkit-second", "--no-logfile", "--selinux-relabel"),
    )


def test_command_of_a_relative_path_has_neither_an_option_nor_a_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("http:x", "--update"):
        assert f"{tmp_path}/{name}" in virt_customize.command(Path(name), [])


def test_require_without_the_program_names_its_package_and_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match=r"'virt-customize'.* is not installed") as caught:
        virt_customize.require()
    assert "make setup" not in caught.value.hint
    assert "contract: complete" in caught.value.hint


def test_customize_gives_scripts_and_the_direct_backend_to_the_program(
    program: Path, tmp_path: Path
) -> None:
    place = tmp_path / "a:b c"
    place.mkdir()
    (place / "s").write_text("the script")
    write(program, 'printf "%s\\n" "$LIBGUESTFS_BACKEND" "$@" >asked; cat "${7%%:*}" >>asked')
    virt_customize.require()
    virt_customize.customize(place / "d", [place / "s"], log=place / "log", emulated=False)
    asked = (place / "asked").read_text().splitlines()
    words = virt_customize.command(place / "d", ["s"])[1:]
    assert asked == ["direct", *words, "the script"]


@pytest.mark.parametrize("emulated", [True, False])
def test_customize_keeps_the_program_from_a_kvm_that_does_not_work(
    program: Path, tmp_path: Path, *, emulated: bool
) -> None:
    write(program, f'printf "%s" "$LIBGUESTFS_BACKEND_SETTINGS" >{tmp_path}/settings')
    virt_customize.customize(
        tmp_path / "d", [tmp_path / "s"], log=tmp_path / "log", emulated=emulated
    )
    assert (tmp_path / "settings").read_text() == ("force_tcg" if emulated else "")


def test_customize_that_fails_tells_what_the_scripts_told_before_the_rest(
    program: Path, tmp_path: Path
) -> None:
    write(program, "echo working; echo 'FAILED it has no kernel' >&2; echo 'the end'; exit 1")
    with pytest.raises(CommandError, match="could not be made a box") as caught:
        virt_customize.customize(
            tmp_path / "d", [tmp_path / "s"], log=tmp_path / "log", emulated=False
        )
    assert caught.value.details[0] == "FAILED it has no kernel"
    assert caught.value.details[-1] == "the end"


def test_customize_is_ended_when_cancelled(program: Path, tmp_path: Path) -> None:
    write(program, f"touch {tmp_path}/started; exec sleep 60")
    with pytest.raises(CommandError, match="was cancelled"):
        virt_customize.customize(
            tmp_path / "d",
            [tmp_path / "s"],
            log=tmp_path / "log",
            emulated=True,
            cancelled=(tmp_path / "started").exists,
        )


@pytest.mark.parametrize(
    ("log", "error", "hint"),
    [
        ("cp: /boot/vmlinuz-6.8.0-31-generic: Permission denied\nsupermin exited with error 1\n", HostError, "chmod"),
        ("virt-customize: error: libguestfs error: guestfs_launch failed.\n", HostError, "test-tool"),
        ("virt-customize: error: no operating systems were found in the guest image\n", CommandError, ""),
        ("", CommandError, ""),
    ],
)  # fmt: skip
def test_failure_is_explained_by_what_was_written(
    log: str, error: type[LabkitError], hint: str
) -> None:
    explained = virt_customize.explain_failure(log, CommandError("it ended", ("evidence",)))
    assert type(explained) is error
    assert hint in explained.hint
    assert explained.details[-1] == (log.splitlines() or ["evidence"])[-1]

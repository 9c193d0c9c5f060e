"""The KVM probe believes a guest that ran, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.host.kvm import CACHE_FILE, KvmProbe, boot_sector, guest_argv, probe, verdict
from labkit.host.process import CommandResult

# A character device that opens for everybody: what the probe needs before it runs a guest.
OPENABLE = Path("/dev/null")


def fake_qemu(directory: Path, body: str) -> str:
    """Write a stand-in for QEMU that counts how often it ran."""
    path = directory / "qemu"
    path.write_text(f"#!/bin/sh\necho ran >> {directory}/runs\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def runs(directory: Path) -> int:
    path = directory / "runs"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def test_boot_sector_layout_is_bootable() -> None:
    image = boot_sector()
    assert image[510:512] == b"\x55\xaa"
    assert len(image) == 1 << 20
    assert set(image[512:]) == {0}


def test_boot_sector_addresses_match_their_targets() -> None:
    image = boot_sector()
    table_pointer = 0x75
    assert image[0x21:0x26] == b"\x0f\x01\x16" + (0x7C00 + table_pointer).to_bytes(2, "little")
    assert image[table_pointer : table_pointer + 2] == (15).to_bytes(2, "little")
    table = int.from_bytes(image[table_pointer + 2 : table_pointer + 6], "little") - 0x7C00
    assert image[table + 8 : table + 16] == bytes.fromhex("00000000009a2000")
    assert image[0x55] == 0xB9


def test_guest_argv_names_accelerator_and_disk() -> None:
    argv = guest_argv("/usr/bin/qemu", Path("/tmp/a,b/disk.raw"), accelerator="tcg")  # noqa: S108 -- never opened
    assert argv[:3] == ("/usr/bin/qemu", "-accel", "tcg")
    assert "file=/tmp/a,,b/disk.raw,format=raw,if=none,id=disk,readonly=on" in argv
    assert argv[argv.index("-machine") + 1] == "q35"


def ended(code: int, said: str = "") -> CommandResult:
    return CommandResult(argv=("qemu",), returncode=code, stdout="", stderr=said, seconds=0.1)


def test_verdict_guest_ran_is_usable() -> None:
    found = verdict(ended(33))
    assert found == KvmProbe(reason="A test guest ran under KVM.")


def test_verdict_guest_killed_says_it_hangs() -> None:
    found = verdict(None)
    assert not found.usable
    assert found.reason.startswith(
        "KVM opens but hangs guests: a test guest did not finish in 4 s"
    )
    assert "nested virtualisation" in found.hint


@pytest.mark.parametrize("exit_code", [0, 1, -6, 35])
def test_verdict_other_exit_code_is_unusable_and_quotes_qemu(exit_code: int) -> None:
    found = verdict(ended(exit_code, "first\nfailed to initialize kvm\n"))
    assert not found.usable
    assert found.reason == (
        f"A test guest under KVM ended QEMU with {exit_code}: failed to initialize kvm"
    )


def test_verdict_with_cache_says_how_to_test_again() -> None:
    found = verdict(None, cache=Path("/c"))
    assert found.hint.endswith(f"Delete '/c/{CACHE_FILE}' to have it tested again.")


def test_probe_without_qemu_says_how_to_install_it(tmp_path: Path) -> None:
    found = probe(qemu=str(tmp_path / "no-qemu"), device=OPENABLE)
    assert not found.usable
    assert "is not installed" in found.reason
    assert "make setup" in found.hint


def test_probe_without_device_names_the_firmware(tmp_path: Path) -> None:
    qemu = fake_qemu(tmp_path, "exit 33")
    found = probe(qemu=qemu, device=tmp_path / "kvm")
    assert not found.usable
    assert found.reason == f"This host has no '{tmp_path}/kvm'."
    assert "firmware" in found.hint
    assert runs(tmp_path) == 0


def test_probe_device_that_does_not_open_quotes_the_kernel(tmp_path: Path) -> None:
    qemu = fake_qemu(tmp_path, "exit 33")
    found = probe(qemu=qemu, device=tmp_path)
    assert found.reason == f"'{tmp_path}' does not open: Is a directory."
    assert not found.usable


@pytest.mark.parametrize(("code", "usable"), [(33, True), (1, False)])
def test_probe_answer_is_kept_until_something_changes(
    tmp_path: Path, code: int, *, usable: bool
) -> None:
    qemu = fake_qemu(tmp_path, f"exit {code}")
    cache = tmp_path / "cache"
    first = probe(qemu=qemu, cache=cache, device=OPENABLE)
    second = probe(qemu=qemu, cache=cache, device=OPENABLE)
    assert first == second
    assert first.usable is usable
    assert runs(tmp_path) == 1
    fake_qemu(tmp_path, f"exit {code}  # another build")
    assert probe(qemu=qemu, cache=cache, device=OPENABLE) == first
    assert runs(tmp_path) == 2
    assert [path.name for path in cache.iterdir()] == [CACHE_FILE]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": 1}', "\x00\xff"])
def test_probe_corrupt_cache_is_ignored_and_mended(tmp_path: Path, text: str) -> None:
    qemu = fake_qemu(tmp_path, "exit 33")
    (tmp_path / CACHE_FILE).write_text(text, encoding="latin-1")
    assert probe(qemu=qemu, cache=tmp_path, device=OPENABLE).usable
    assert json.loads((tmp_path / CACHE_FILE).read_text(encoding="utf-8"))["usable"] is True


def test_probe_cache_that_cannot_be_written_still_answers(tmp_path: Path) -> None:
    qemu = fake_qemu(tmp_path, "exit 33")
    cache = tmp_path / "file"
    cache.write_text("", encoding="utf-8")
    assert probe(qemu=qemu, cache=cache, device=OPENABLE).usable

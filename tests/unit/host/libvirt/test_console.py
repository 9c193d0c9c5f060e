"""A console over a stream in memory; tests/e2e has libvirt's own, which its test driver lacks."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, cast
from uuid import UUID

import libvirt  # noqa: TID251 -- its errors are what is raised
import pytest

from labkit.errors import HostError, LabkitError, OperationError
from labkit.host.libvirt.calls import _error
from labkit.host.libvirt.connection import connect
from labkit.host.libvirt.console import (
    Console,
    ConsoleInUseError,
    NoConsoleError,
    open_console,
)
from tests.fakes.line import FakeStream

if TYPE_CHECKING:
    from pathlib import Path

UUID_ = UUID("11111111-0000-0000-0000-000000000001")
HOST = f"""
<node><domain type='test'>
  <name>demo</name><uuid>{UUID_}</uuid>
  <memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os>
</domain></node>"""


class Libvirt:
    """A connection and its one domain, whose console opens or is refused."""

    def __init__(self, refusal: libvirt.libvirtError | None = None) -> None:
        self.stream = FakeStream()
        self.asked: list[int] = []
        self._refusal = refusal

    def name(self) -> str:
        return "demo"

    def newStream(self, _flags: int) -> FakeStream:  # noqa: N802 -- libvirt's name
        return self.stream

    def openConsole(self, _device: str, stream: FakeStream, flags: int) -> None:  # noqa: N802
        assert stream is self.stream
        self.asked.append(flags)
        if self._refusal is not None:
            raise self._refusal

    def open(self, *, force: bool = False) -> Console:
        return open_console(
            cast("libvirt.virConnect", self), cast("libvirt.virDomain", self), force=force
        )


def qemu(code: int, text: str) -> libvirt.libvirtError:
    """Return an error of libvirt's QEMU driver."""
    error = libvirt.libvirtError(text)
    level = libvirt.VIR_ERR_ERROR
    error.err = (code, libvirt.VIR_FROM_QEMU, text, level, "", None, None, 0, 0)
    return error


@pytest.mark.parametrize(
    ("force", "flags"), [(False, 0), (True, libvirt.VIR_DOMAIN_CONSOLE_FORCE)]
)
def test_console_is_opened_with_the_flag_that_takes_it_over_only_when_told(
    force: bool,  # noqa: FBT001 -- a parameter of the table above
    flags: int,
) -> None:
    world = Libvirt()
    world.open(force=force)
    assert world.asked == [flags]


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (
            libvirt.VIR_ERR_OPERATION_FAILED,
            "Active console session exists for this domain",
            ConsoleInUseError,
        ),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "character device serial0 is not using a PTY",
            NoConsoleError,
        ),
        (libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running", OperationError),
    ],
)
def test_refusal_is_told_by_its_code_with_the_words_of_libvirt(
    code: int, text: str, kind: type[LabkitError]
) -> None:
    with pytest.raises(LabkitError) as caught:
        Libvirt(qemu(code, text)).open()
    assert type(caught.value) is kind
    assert caught.value.details == (text,)


def test_libvirtd_that_is_gone_is_no_console_that_cannot_be_had() -> None:
    with pytest.raises(HostError, match="does not answer"):
        Libvirt(_error(libvirt.VIR_ERR_INTERNAL_ERROR, "client socket is closed", 0)).open()


def test_console_reads_what_the_guest_says_until_its_end() -> None:
    world = Libvirt()
    world.stream.say(b"login: ", b"")
    console = world.open()
    assert (console.read(), console.read()) == (b"login: ", b"")


def test_console_sends_all_also_where_libvirt_takes_a_part() -> None:
    world = Libvirt()
    world.open().write(b"poweroff\r")
    assert world.stream.heard == b"poweroff\r"


def test_stream_that_breaks_with_its_domain_is_the_end() -> None:
    world = Libvirt()
    world.stream.say(qemu(libvirt.VIR_ERR_INTERNAL_ERROR, "stream had I/O failure"))
    assert world.open().read() == b""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_error(libvirt.VIR_ERR_INTERNAL_ERROR, "client socket is closed", 0), "does not answer"),
        (_error(libvirt.VIR_ERR_SYSTEM_ERROR, "no answer", errno.ETIMEDOUT), "libvirtd hangs"),
    ],
)
def test_stream_that_breaks_with_libvirtd_is_a_host_error(
    error: libvirt.libvirtError, words: str
) -> None:
    world = Libvirt()
    world.stream.say(error)
    with pytest.raises(HostError, match=words):
        world.open().read()


def test_driver_without_consoles_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "host.xml"
    file.write_text(HOST, encoding="utf-8")
    with connect(f"test://{file}") as hypervisor, pytest.raises(LabkitError) as caught:
        hypervisor.console(UUID_)
    assert "could not open the console of the domain 'demo'" in caught.value.message

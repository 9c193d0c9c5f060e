"""Boot record and boot loader of a disk image."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.build import kernel_arguments
from labkit.boxes.definition import (
    find_box,
)
from labkit.boxes.disk import BootEntry, master_boot_record, write_boot_loader
from labkit.errors import OperationError
from tests.support.boxtree import CHECKOUT, debian

if TYPE_CHECKING:
    from pathlib import Path


def test_boot_record_has_one_active_linux_partition_and_the_signature() -> None:
    record = master_boot_record(b"\xeb" * 512, sectors=8 * 2**21)
    status, kind, start, count = struct.unpack("<B3xB3xII", record[446:462])
    assert (status, kind, start, count) == (0x80, 0x83, 2048, 8 * 2**21 - 2048)
    assert (len(record), record[-2:]) == (512, b"\x55\xaa")
    assert record[:440] == b"\xeb" * 440


def test_boot_loader_too_big_for_the_gap_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    with pytest.raises(OperationError, match="core image"):
        write_boot_loader(disk, boot_image=b"", core_image=bytes(2**20), sectors=2**21)
    assert disk.read_bytes() == bytes(4096)


def test_boot_entry_passes_the_whole_command_line() -> None:
    arguments = kernel_arguments(debian(find_box("rehearsal", CHECKOUT)))
    for wanted in ("net.ifnames=1", "biosdevname=0", "console=ttyS0,115200n8", "root=/dev/vda1"):
        assert wanted in arguments
    script = BootEntry(kernel="/k", initrd="/i", arguments=arguments).grub_script()
    assert f"linux /k {' '.join(arguments)}\n" in script

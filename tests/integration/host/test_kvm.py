"""The KVM probe's guest on real QEMU."""

from __future__ import annotations

import shutil

import pytest

from labkit.host import kvm

pytestmark = pytest.mark.integration


@pytest.mark.skipif(
    shutil.which(kvm.QEMU) is None, reason="QEMU is not installed: run 'make setup'"
)
def test_run_guest_under_software_emulation_ends_as_a_working_guest_does() -> None:
    found = kvm.run_guest(kvm.QEMU, accelerator="tcg", seconds=30)
    assert found is not None
    assert (found.returncode, found.tail()) == (33, ())

"""Labs that come up and go: real libvirtd, QEMU, Vagrant and sshd; the checks are in the files named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Boxes may have to be built first, and everything is emulated where there is no KVM.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_document_lab_from_up_to_destroy_is_as_the_lab_file_says(
    passes_inside: Callable[[str], None],
) -> None:
    passes_inside("lab_inside.py")


def test_two_labs_at_once_leave_each_other_alone(passes_inside: Callable[[str], None]) -> None:
    passes_inside("neighbours_inside.py")


def test_labs_on_record_are_swept_when_their_time_is_over(
    passes_inside: Callable[[str], None],
) -> None:
    passes_inside("sweep_inside.py")

"""A box installed from an ISO through real libvirt and QEMU; the checks are in the file named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# The rehearsal box, whose kernel the stand-in ISO boots, may have to be built first.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_stand_in_iso_becomes_a_box_and_every_failure_is_named(
    passes_inside: Callable[[str], None],
) -> None:
    passes_inside("install_inside.py")

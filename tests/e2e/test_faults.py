"""Labs that are hindered by host, guest or user; the checks are in the files named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Boxes may have to be built first, and everything is emulated where there is no KVM.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_interrupted_up_leaves_nothing_and_can_go_on(passes_inside: Callable[[str], None]) -> None:
    passes_inside("interrupted_inside.py")


def test_host_that_is_not_ready_is_refused_and_left_alone(
    passes_inside: Callable[[str], None],
) -> None:
    passes_inside("foreign_inside.py")


def test_guest_that_does_not_come_up_is_explained(passes_inside: Callable[[str], None]) -> None:
    passes_inside("faults_inside.py")

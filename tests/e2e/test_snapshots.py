"""Snapshots of a whole lab: real memory, real disks, real kills; the checks are in the file named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Boxes may have to be built first, and everything is emulated where there is no KVM.
pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(2700)]


def test_snapshots_are_whole_or_absent_and_restores_are_proven(
    passes_inside: Callable[..., None],
) -> None:
    passes_inside("snapshots_inside.py", seconds=2400)

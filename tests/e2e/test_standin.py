"""The rehearsal box's stand-ins for a deployment, in a lab of real guests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_stand_in_packstack_does_to_the_network_what_packstack_does(
    passes_inside: Callable[[str], None],
) -> None:
    passes_inside("standin_inside.py")

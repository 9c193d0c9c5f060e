"""Deployments on stand-in guests, whole and disturbed; the checks are in the files named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Boxes may have to be built first, and everything is emulated where there is no KVM.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2700)]


def test_document_lab_is_deployed_verified_and_grown(passes_inside: Callable[[str], None]) -> None:
    passes_inside("deploy_inside.py")


@pytest.mark.long
def test_disturbed_deployment_ends_in_a_true_report(passes_inside: Callable[..., None]) -> None:
    passes_inside("deploy_faults_inside.py", seconds=2400)

from __future__ import annotations

import pytest

from labkit import resources
from labkit.errors import HostError
from tests.support.examples import ROOT


def test_root_checkout_is_the_directory_above_the_package() -> None:
    assert str(resources.root()) == str(ROOT)


def test_read_text_template_returns_its_text() -> None:
    expected = (ROOT / "kickstart" / "hosts.j2").read_text(encoding="utf-8")
    assert resources.read_text("kickstart/hosts.j2") == expected


@pytest.mark.parametrize("name", ["kickstart/none.j2", "kickstart"])
def test_read_text_missing_file_raises_host_error(name: str) -> None:
    with pytest.raises(HostError, match=f"'{name}' is missing"):
        resources.read_text(name)

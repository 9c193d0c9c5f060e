"""A user without a home: HOME is not set, and the user database does not know them."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING, Never

import pytest

from labkit.errors import HostError
from labkit.host.files import cache_root, home_directory

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("asks", [home_directory, cache_root])
def test_case_22_class_user_without_a_home_is_told_to_set_it(
    monkeypatch: pytest.MonkeyPatch, asks: Callable[[], object]
) -> None:
    def unknown(uid: int) -> Never:
        raise KeyError(uid)

    for name in ("HOME", "LABKIT_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(HostError, match="has no home directory") as caught:
        asks()
    assert "HOME" in caught.value.hint

"""Modules that are loaded while something else is waited for."""

from __future__ import annotations

import sys

import pytest

from labkit.host.preload import beside


def test_module_is_there_when_the_body_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with beside("colorsys"):
        pass
    assert "colorsys" in sys.modules


def test_module_that_cannot_be_loaded_leaves_the_error_to_its_user(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with beside("labkit.no_such_module"):
        done = True
    assert done
    assert capfd.readouterr() == ("", "")


def test_error_of_the_body_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), beside("colorsys"):
        1 / 0  # noqa: B018 -- the error is what is wanted

"""Reads `systemctl status` of one unit (systemd 219 to 252)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LOADED = re.compile(r"^ *Loaded: (?P<load>[a-z-]+)", re.MULTILINE)
_ACTIVE = re.compile(r"^ *Active: (?P<state>[a-z-]+)(?: \((?P<sub>[^)]*)\))?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit's state.

    Attributes:
        load: loaded, not-found, masked, error.
        state: active, inactive, failed, activating, deactivating, reloading.
        sub: running, dead, exited, auto-restart, or what stands there instead.
    """

    load: str
    state: str
    sub: str

    def __str__(self) -> str:
        """Return it in systemctl's own words."""
        return f"{self.load}, {self.state}{f' ({self.sub})' if self.sub else ''}"


def parse(text: str) -> Unit:
    """Return the unit's state.

    Raises:
        ValueError: The text has no `Active:` line; systemd 219 prints nothing for an unknown unit.
    """
    active = _ACTIVE.search(text)
    if active is None:
        msg = "it has no line 'Active:', so systemd does not know the unit"
        raise ValueError(msg)
    loaded = _LOADED.search(text)
    return Unit(
        load=loaded["load"] if loaded else "unknown",
        state=active["state"],
        sub=active["sub"] or "",
    )

"""Tools for a verb under test: nothing of this host, unless a test hands some of it in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

from labkit.state.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address

    from labkit.host.greetings import Greetings
    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.vagrant import Machines
    from labkit.state.directory import LabDirectory
    from labkit.state.tools import Connect


def _untouched(*_args: object, **_kwargs: object) -> NoReturn:
    msg = "this test gives its verb no such tool"
    raise AssertionError(msg)


def tools(
    *,
    connect: Callable[[], Hypervisor] = _untouched,
    machines: Callable[[LabDirectory], Machines] = _untouched,
    ssh: Connect = _untouched,
    clock: Callable[[], float] = time.monotonic,
    greet: Callable[[tuple[IPv4Address, ...], int], Greetings] = _untouched,
) -> Tools:
    """Return tools of which those that are not given fail the test that uses them."""
    return Tools(connect=connect, machines=machines, ssh=ssh, clock=clock, greet=greet)

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Put the handlers back that a command line run in this process replaced.

    It ends deaf to Ctrl-C, and a later test that sends itself one would wait for it in vain.
    """
    heard = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in heard}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)

"""Options and fixtures every kind of test may use."""

from __future__ import annotations

import signal

import pytest
from hypothesis import Phase, settings

from tests.support.golden import Golden

# How long an example takes says how busy the machine is, not whether the code is right. The
# examples are the same at every run: what a change breaks shows with the change. Making a failure
# smaller can take minutes, in which nobody learns more.
settings.register_profile(
    "labkit", deadline=None, derandomize=True, phases=set(Phase) - {Phase.shrink, Phase.explain}
)
settings.load_profile("labkit")


def pytest_configure() -> None:
    # A shell that starts the tests in the background makes them, and every process they start,
    # deaf to Ctrl-C; a test that sends one would wait for its answer in vain.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate",
        action="store_true",
        help="write the golden files under tests/data instead of comparing with them",
    )


def pytest_make_parametrize_id(val: object) -> None:
    """Refuse to name a test after what gzip packed: it writes the time into it.

    The workers of one run collect the tests one by one, and have to agree on every name.
    """
    if isinstance(val, bytes) and val.startswith(b"\x1f\x8b"):
        message = "gzip writes the time into its bytes: name these tests by ids="
        raise pytest.UsageError(message)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(regenerate=bool(request.config.getoption("--regenerate")))

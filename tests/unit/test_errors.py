from __future__ import annotations

from labkit.errors import HostError, OperationError, joined

LOST = HostError("libvirtd does not answer.", details=("refused",), hint="Start it.")


def test_joined_single_error_stays_as_it_is() -> None:
    assert joined([LOST], "labkit could not resume every node.") is LOST


def test_joined_errors_of_one_kind_stay_that_kind_and_are_all_told() -> None:
    error = joined([LOST, LOST], "labkit could not resume every node.")

    # A wait for libvirtd tries again on this kind alone.
    assert type(error) is HostError
    assert error.message == "labkit could not resume every node."
    assert error.details == ("libvirtd does not answer.", "  refused") * 2
    assert error.hint == "Start it."


def test_joined_errors_of_different_kinds_are_a_failed_operation() -> None:
    assert type(joined([LOST, OperationError("b.")], "c.")) is OperationError

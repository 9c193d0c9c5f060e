from __future__ import annotations

from labkit.errors import HostError, OperationError
from labkit.snapshots.together import joined


def test_joined_errors_of_one_kind_stay_that_kind_and_name_every_node() -> None:
    lost = HostError("libvirtd does not answer.", details=("refused",), hint="Start it.")

    error = joined({"one": lost, "two": lost}, "resume every node")

    # A wait for libvirtd tries again on this kind alone.
    assert type(error) is HostError
    assert error.message == "labkit could not resume every node."
    assert error.details == (
        "one: libvirtd does not answer.",
        "  refused",
        "two: libvirtd does not answer.",
        "  refused",
    )
    assert error.hint == "Start it."


def test_joined_errors_of_different_kinds_are_a_failed_operation() -> None:
    error = joined({"one": HostError("a."), "two": OperationError("b.")}, "save every node")
    assert type(error) is OperationError

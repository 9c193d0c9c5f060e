"""What Packstack prints: transcripts under tests/data/packstack, cut anywhere, and single lines."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.lab import releases
from labkit.lab.topology import Release
from labkit.packstack.output.parser import (
    Applied,
    Applying,
    Bullet,
    ChangedValue,
    ErrorText,
    Event,
    Installing,
    InvalidParameter,
    OtherText,
    Parser,
    StepDone,
    TracebackLine,
)
from labkit.packstack.output.steps import expected_steps
from labkit.packstack.output.view import PrintedStatus, RunView, view_of
from tests.support.packstack import CONTROLLER, DEFAULTS, NAMES, transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

STEPS = expected_steps(DEFAULTS)
COMPUTE = "172.16.208.141"


def events(text: str) -> tuple[Event, ...]:
    return Parser().feed(text.encode())


def view_in_pieces(pieces: Iterable[bytes]) -> RunView:
    parser, view = Parser(), RunView(expected=STEPS)
    for piece in pieces:
        view = view.advance_all(parser.feed(piece), 0.0)
    return view.advance_all(parser.close(), 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_transcript_gives_the_run_that_was_written_down(name: str) -> None:
    run = transcript(name)
    view = view_of(run.output, expected=STEPS)
    failed = [step.title for step in view.steps if not step.ok]

    assert {
        "outcome": view.status.value,
        "done": view.done,
        "total": view.total,
        "failed_step": failed[0] if failed else None,
        "error": view.error[0] if view.error else None,
        "manifests": [[manifest.manifest, manifest.ok] for manifest in view.manifests],
        "steps": len(view.steps),
        "done_marks": sum(step.ok for step in view.steps)
        + sum(manifest.ok is True for manifest in view.manifests),
    } == {
        key: value for key, value in run.expected.items() if key not in {"failures", "additional"}
    }


@pytest.mark.parametrize("name", NAMES)
def test_transcript_byte_by_byte_gives_the_same_run(name: str) -> None:
    output = transcript(name).output
    pieces = (output[at : at + 1] for at in range(len(output)))
    assert view_in_pieces(pieces) == view_of(output, expected=STEPS)


@given(
    name=st.sampled_from(NAMES),
    cuts=st.lists(st.floats(0, 1), max_size=12),
    ending=st.sampled_from([b"", "\u2026 ä\n".encode(), b"\xff\xfe\x1b[", b"\r\r\n\x1b[33m"]),
)
def test_any_split_gives_the_same_run(name: str, cuts: list[float], ending: bytes) -> None:
    output = transcript(name).output + ending
    places = sorted({int(cut * len(output)) for cut in cuts} | {0, len(output)})
    pieces = [output[a:b] for a, b in pairwise(places)]
    assert view_in_pieces(pieces) == view_of(output, expected=STEPS)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_arbitrary_bytes_are_survived_and_splits_agree(pieces: list[bytes]) -> None:
    assert view_in_pieces(pieces) == view_of(b"".join(pieces), expected=STEPS)


@pytest.mark.parametrize("name", ["allinone", "multinode-lbaas", "terminal", "kernel-reboot"])
def test_expected_steps_are_those_of_a_whole_transcript_in_order(name: str) -> None:
    view = view_of(transcript(name).output)
    assert tuple(step.title for step in view.steps) == STEPS
    assert len(STEPS) == 42


@pytest.mark.parametrize(
    ("answers", "title", "present"),
    [
        ({"CONFIG_NTP_SERVERS": "192.0.2.1"}, "Installing time synchronization via NTP", True),
        ({"CONFIG_NTP_SERVERS": " "}, "Installing time synchronization via NTP", False),
        (
            {"CONFIG_CINDER_BACKEND": "nfs, lvm"},
            "Checking if the Cinder server has a cinder-volumes vg",
            True,
        ),
        (
            {"CONFIG_CINDER_BACKEND": "nfs"},
            "Checking if the Cinder server has a cinder-volumes vg",
            False,
        ),
        ({"CONFIG_CEILOMETER_INSTALL": "n"}, "Preparing Aodh entries", False),
        ({"CONFIG_LBAAS_INSTALL": "n"}, "Preparing Neutron LBaaS Agent entries", True),
        (
            {"CONFIG_PROVISION_TEMPEST": "y", "CONFIG_RUN_TEMPEST": "y"},
            "Running Tempest",
            True,
        ),
        ({"CONFIG_PROVISION_TEMPEST": "y"}, "Running Tempest", False),
    ],
)
def test_step_is_expected_when_its_condition_holds(
    answers: dict[str, str], title: str, *, present: bool
) -> None:
    assert (title in expected_steps(DEFAULTS | answers)) is present


@pytest.mark.parametrize("release", Release)
def test_table_of_steps_names_each_once(release: Release) -> None:
    lines = releases.text(release, "steps.tsv").splitlines()
    titles = [line.partition("\t")[2] for line in lines if not line.startswith("#")]
    # Train has no LBaaS agent to prepare.
    assert len(titles) == len(set(titles)) == (51 if release is Release.TRAIN else 52)


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("Clean Up    [ \x1b[32mDONE\x1b[0m ]", StepDone(title="Clean Up", ok=True)),
        (
            "Fixing Keystone LDAP config parameters to be undef if empty[ DONE ]",
            StepDone(title="Fixing Keystone LDAP config parameters to be undef if empty", ok=True),
        ),
        ("Clean Up [ \x1b[0;31mERROR\x1b[0m ]", StepDone(title="Clean Up", ok=False)),
        (
            "Applying fd00::1_network.pp",
            Applying(manifest="fd00::1_network.pp", host="fd00::1", role="network"),
        ),
        (
            "\rnode_one_compute.pp:   [ ERROR ]",
            Applied(manifest="node_one_compute.pp", host="node_one", role="compute", ok=False),
        ),
        (
            "Packstack changed given value a to required value 192.0.2.1",
            ChangedValue(given="a", required="192.0.2.1"),
        ),
        (
            "Parameter CONFIG_X failed validation: no: way",
            InvalidParameter(key="CONFIG_X", reason="no: way"),
        ),
        ("Installing:", Installing()),
        ("something [ / ]", OtherText(line="something [ / ]")),
        ("packstack: error: no such option: -q", ErrorText(line="no such option: -q")),
    ],
)
def test_line_gives_its_event(line: str, event: Event) -> None:
    assert events(f"{line}\n") == (event,)


@pytest.mark.parametrize(
    "line",
    [
        "Welcome to the Packstack setup utility",
        "The installation log file is available at: /x/y.log",
        "The generated manifests are available at: /m",
    ],
)
def test_line_that_every_run_prints_is_passed_over(line: str) -> None:
    assert events(f"{line}\n") == ()


def test_spinner_of_hours_does_not_fill_the_memory() -> None:
    parser = Parser()
    turn = f"\rTesting if puppet apply is finished: {CONTROLLER}_controller.pp  [ / ]".encode()
    for _ in range(5000):
        assert parser.feed(turn) == ()
    assert len(parser._rest) <= 64 * 1024
    assert parser.feed(f"\r{CONTROLLER}_controller.pp:   [ DONE ]\n".encode()) == (
        Applied(
            manifest=f"{CONTROLLER}_controller.pp", host=CONTROLLER, role="controller", ok=True
        ),
    )


def test_error_of_several_lines_ends_at_the_hint_and_keeps_a_step_in_it() -> None:
    seen = events(
        "\n\x1b[0;31mERROR : one\nClean Up [ DONE ]\n\x1b[0m\n"
        "Please check log file /l for more information\nafter\n"
    )
    assert seen == (
        ErrorText(line="one"),
        ErrorText(line="Clean Up [ DONE ]"),
        OtherText(line="after"),
    )


def test_long_error_keeps_what_failed_and_why() -> None:
    view = RunView().advance_all([ErrorText(line=f"{n}") for n in range(1000)], 0.0)
    assert (view.error[0], view.error[-1], len(view.error)) == ("0", "999", 201)


def test_bullet_over_two_lines_is_one_text() -> None:
    seen = events(
        "Additional information:\n * one\ntwo\n * The generated manifests are available at: /m\n"
    )
    assert seen == (
        Bullet(text="one"),
        Bullet(text="two", continued=True),
        Bullet(text="The generated manifests are available at: /m"),
    )
    assert RunView().advance_all(seen, 0.0).bullets[0] == "one two"


def test_traceback_without_an_error_is_a_failure() -> None:
    seen = events("Traceback (most recent call last):\n  File x\nOSError: no\nClean Up [ DONE ]\n")
    assert seen[-1] == StepDone(title="Clean Up", ok=True)
    assert [type(event) for event in seen[:3]] == [TracebackLine] * 3
    assert RunView().advance_all(seen, 0.0).status is PrintedStatus.FAILED


def test_unknown_step_never_breaks_counting() -> None:
    view = RunView(expected=("a", "b", "c"))
    view = view.advance(Installing(), 0.0)
    for title, done, total, current in (
        ("a", 1, 3, "b"),
        ("surprise", 2, 4, "b"),
        ("c", 4, 4, None),
        ("another", 5, 5, None),
    ):
        view = view.advance(StepDone(title=title, ok=True), 0.0)
        assert (view.done, view.total, view.current) == (done, total, current)


def test_last_line_without_its_end_is_not_lost() -> None:
    assert view_of(transcript("killed").output).other == ("Preparing Glance ent",)


def test_current_step_is_the_next_expected_one() -> None:
    view = view_of(transcript("hang").output, expected=STEPS)
    assert view.current == "Applying Puppet manifests"
    assert [run.manifest for run in view.running] == [f"{CONTROLLER}_controller.pp"]


def test_held_back_line_leaves_the_duration_unknown() -> None:
    parser, view = Parser(), RunView()
    name = f"{CONTROLLER}_controller.pp"
    view = view.advance_all(parser.feed(f"Applying {name}\n\r{name}: [ DONE ]\n".encode()), 100.0)
    assert view.manifests[0].seconds(900.0) is None
    assert view.manifests[0].ok


def test_manifests_side_by_side_end_in_any_order() -> None:
    parser, view = Parser(), RunView()
    one, two = f"{CONTROLLER}_compute.pp", f"{COMPUTE}_compute.pp"
    for at, text in (
        (10.0, f"Applying {one}\nApplying {two}\n"),
        (70.0, f"\r{two}: [ DONE ]\n"),
        (90.0, f"\r{one}: [ DONE ]\n"),
    ):
        view = view.advance_all(parser.feed(text.encode()), at)
    assert [(run.manifest, run.seconds(999.0)) for run in view.manifests] == [
        (one, 80.0),
        (two, 60.0),
    ]
    assert view.running == ()

"""Puppet's log, the words of progress, and the verdict that a run is hung."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.packstack.output.parser import (
    Applied,
    Applying,
    ChangedValue,
    Event,
    Installed,
    Installing,
    InvalidParameter,
    OtherText,
    Parser,
    StepDone,
)
from labkit.packstack.output.puppet import PuppetError, PuppetLog, puppet_errors
from labkit.packstack.output.stall import OUTPUT, Activity, Hung, Look, OutOfSight, judge
from labkit.packstack.output.steps import expected_steps
from labkit.packstack.output.view import ManifestRun, RunView, view_of
from labkit.packstack.output.words import ago, duration, event_line, headline, node_line, typical
from tests.support.packstack import CONTROLLER, DEFAULTS, transcript

STEPS = expected_steps(DEFAULTS)
MANIFEST = f"{CONTROLLER}_controller.pp"
RUN = ManifestRun(manifest=MANIFEST, host=CONTROLLER, role="controller", started=100.0)


def test_puppet_log_of_a_transcript_is_counted() -> None:
    log = PuppetLog().feed(transcript("allinone").puppet["controller"].encode(), 5.0)
    assert log.resources == 4
    assert log.applied_seconds == 1512.3
    assert (log.errors, log.changed_at) == ((), 5.0)
    assert log.tail[-1] == "Notice: Applied catalog in 1512.30 seconds"


@given(st.lists(st.integers(0, 900), max_size=8))
def test_puppet_log_in_pieces_is_the_same(cuts: list[int]) -> None:
    data = transcript("qpid-proton").puppet["controller"].encode() + "Error: ä\x1b[0".encode()
    places = sorted({cut for cut in cuts if cut < len(data)} | {0, len(data)})
    log = PuppetLog()
    for a, b in pairwise(places):
        log = log.feed(data[a:b], 1.0)
    assert log.close() == PuppetLog().feed(data, 1.0).close()
    assert log.size == len(data)


def test_puppet_log_that_did_not_grow_keeps_its_time() -> None:
    log = PuppetLog().feed(b"Notice: x\n", 1.0)
    assert log.feed(b"", 9.0) == log


@pytest.mark.parametrize(
    ("line", "resources"),
    [
        ("Notice: /Stage[main]/Nova/Package[a]/ensure: created", 1),
        ("Notice: /Stage[main]/Nova/Exec[a b: c/d]/returns: executed successfully", 1),
        ("Notice: /Stage[main]/Nova/Exec[a]: Triggered 'refresh' from 2 events", 1),
        ("Error: /Stage[main]/Nova/Exec[a]/returns: change from x to y failed: z", 1),
        ("\x1b[mNotice: /File[/etc/a]/ensure: defined content\x1b[0m", 0),
        ("Info: /Stage[main]/Nova/Exec[a]: Scheduling refresh of Service[b]", 0),
        ("Warning: /Stage[main]/Nova/Exec[a]: Skipping because of failed dependencies", 0),
        ("/Stage[main]/Nova/Exec[a]/returns: no level", 0),
    ],
)
def test_resource_is_counted_by_what_was_done_to_it(line: str, resources: int) -> None:
    log = PuppetLog().feed(f"{line}\n{line}\n".encode(), 0.0)
    assert log.resources == resources


def test_puppet_errors_carry_resource_and_what_follows() -> None:
    assert puppet_errors(
        "Notice: a\nError: b\n c\nd\nNotice: e\nf\n"
        "\x1b[1;31mError: /Stage[main]/N/Exec[x]/returns: g\x1b[0m"
    ) == (
        PuppetError(lines=("b", " c", "d")),
        PuppetError(
            lines=("/Stage[main]/N/Exec[x]/returns: g",), resource="/Stage[main]/N/Exec[x]"
        ),
    )


def test_puppet_errors_without_end_are_limited() -> None:
    errors = puppet_errors("".join(f"Error: {n}\n" + "more\n" * 99 for n in range(99)))
    assert (len(errors), {len(error.lines) for error in errors}) == (50, {12})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.9, "0:59"), (750, "12:30"), (3600, "1:00:00"), (3725, "1:02:05")],
)
def test_duration_is_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_ago_counts_seconds_then_minutes() -> None:
    assert (ago(5.4), ago(-1), ago(750)) == ("5 s ago", "0 s ago", "12:30 ago")


def test_node_line_shows_time_resources_and_age_of_the_log() -> None:
    text = "".join(f"Notice: /Stage[main]/N/Package[{n}]/ensure: created\n" for n in range(340))
    log = PuppetLog().feed(text.encode(), 845.0)
    assert node_line(RUN, log, now=850.0) == (
        "controller.pp 12:30, 340 resources, log 5 s ago, typically 20 to 40 min"
    )


def test_node_line_without_a_log_says_so() -> None:
    run = replace(RUN, role="compute")
    assert node_line(run, None, now=101.0) == "compute.pp 0:01, no log yet"
    assert node_line(run, PuppetLog(), now=101.0) == "compute.pp 0:01, no log yet"


def test_node_line_of_an_ended_manifest_says_how() -> None:
    log = PuppetLog().feed(b"Error: /Stage[main]/N/Exec[x]/returns: no\n", 1.0)
    failed = replace(RUN, finished=160.0, ok=False)
    assert node_line(failed, log, now=999.0) == "controller.pp 1:00, failed, 1 resource, 1 error"


def test_node_line_of_an_unseen_duration_takes_puppets_own() -> None:
    log = PuppetLog().feed(b"Notice: Applied catalog in 61.20 seconds\n", 1.0)
    assert node_line(replace(RUN, finished=100.0, ok=True), log, now=9.0) == (
        "controller.pp 1:01, done"
    )
    assert node_line(replace(RUN, finished=100.0, ok=True), None, now=9.0) == "controller.pp, done"


def test_typical_is_known_for_the_controller_alone() -> None:
    assert str(typical("controller")) == "typically 20 to 40 min"
    assert typical("network") is None


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Installing(), "the parameters are accepted; 42 steps are to come"),
        (StepDone(title="Clean Up", ok=True), "step 1 of 42: Clean Up"),
        (StepDone(title="Clean Up", ok=False), "step 0 of 42: Clean Up: failed"),
        (
            Applying(manifest=MANIFEST, host=CONTROLLER, role="controller"),
            f"applying {MANIFEST} (typically 20 to 40 min)",
        ),
        (
            Applied(manifest=MANIFEST, host=CONTROLLER, role="controller", ok=True),
            f"{MANIFEST}: done",
        ),
        (ChangedValue(given="a", required="b"), "Packstack uses 'b' for 'a'"),
        (InvalidParameter(key="CONFIG_X", reason="no"), "Packstack refuses CONFIG_X: no"),
        (Installed(), "Packstack completed the installation"),
        (OtherText(line="chatter"), None),
    ],
)
def test_event_is_told_in_one_line(event: Event, line: str | None) -> None:
    view = RunView(expected=STEPS).advance(event, 1.0)
    assert event_line(event, view) == line


def test_end_of_a_manifest_is_told_with_its_time() -> None:
    start = Applying(manifest=MANIFEST, host=CONTROLLER, role="controller")
    end = Applied(manifest=MANIFEST, host=CONTROLLER, role="controller", ok=False)
    view = RunView().advance(start, 10.0).advance(end, 70.0)
    assert event_line(end, view) == f"{MANIFEST}: failed after 1:00"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("allinone", "42 of 42 steps, completed, 12:30"),
        ("hang", "40 of 42 steps, Applying Puppet manifests, 12:30"),
        ("tunnel-if", "23 of 42 steps, failed in 'Preparing Neutron API entries', 12:30"),
        ("setuptools", "0 of 42 steps, failed, 12:30"),
    ],
)
def test_headline_says_how_a_run_stands(name: str, line: str) -> None:
    view = view_of(transcript(name).output, expected=STEPS)
    assert headline(view, started=0.0, now=750.0) == line


def test_headline_before_the_steps_says_so() -> None:
    view = RunView(expected=STEPS).advance_all(Parser().feed(b"Welcome\n"), 0.0)
    assert headline(view, started=0.0, now=1.0) == "0 of 42 steps, checking the parameters, 0:01"


def watched(*samples: tuple[float, dict[str, int]]) -> Activity:
    activity = Activity(began=0.0)
    for at, sizes in samples:
        looks = {name: Look(size=size, tail=(f"{name} {size}",)) for name, size in sizes.items()}
        activity = activity.observe(looks, at)
    return activity


def test_run_without_growth_anywhere_is_hung_with_evidence() -> None:
    activity = watched(
        (0.0, {OUTPUT: 10, "controller": 5}),
        (60.0, {OUTPUT: 10, "controller": 6}),
        (660.0, {OUTPUT: 10, "controller": 6}),
    )
    verdict = judge(activity, now=660.0, limit=600.0)
    assert verdict == Hung(seconds=600.0, source="controller", tail=("controller 6",), unseen=())
    assert verdict.describe() == (
        "Nothing has moved for 10:00; last the Puppet log on 'controller' did.",
        "  controller 6",
    )
    assert judge(activity, now=659.0, limit=600.0) is None


def test_growth_on_one_node_is_enough_to_be_alive() -> None:
    activity = watched((0.0, {OUTPUT: 10, "compute": 5}), (590.0, {OUTPUT: 10, "compute": 6}))
    assert judge(activity, now=700.0, limit=600.0) is None


def test_log_that_starts_anew_is_movement() -> None:
    activity = watched((0.0, {OUTPUT: 10}), (590.0, {OUTPUT: 3}))
    assert judge(activity, now=700.0, limit=600.0) is None


def test_unseen_node_is_named_and_not_taken_for_silent() -> None:
    activity = watched((0.0, {OUTPUT: 10, "compute": 5}), (700.0, {OUTPUT: 10}))
    verdict = judge(activity, now=700.0, limit=600.0)
    assert isinstance(verdict, Hung)
    assert verdict.unseen == ("compute",)
    assert verdict.describe()[1] == "Not to be seen at present: 'compute'."


def test_run_nobody_could_look_at_is_out_of_sight_not_hung() -> None:
    activity = watched((0.0, {OUTPUT: 10}), (30.0, {}))
    assert judge(activity, now=599.0, limit=600.0) is None
    assert judge(activity, now=600.0, limit=600.0) == OutOfSight(seconds=600.0)
    assert judge(Activity(began=100.0), now=699.0, limit=600.0) is None
    assert judge(Activity(began=100.0), now=700.0, limit=600.0) == OutOfSight(seconds=600.0)


def test_return_to_sight_with_growth_is_movement() -> None:
    activity = watched((0.0, {OUTPUT: 10}), (900.0, {OUTPUT: 11}))
    assert judge(activity, now=901.0, limit=600.0) is None

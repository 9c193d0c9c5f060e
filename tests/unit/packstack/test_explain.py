"""Known failures, recognised in the transcripts under tests/data/packstack and in single texts."""

from __future__ import annotations

import re

import pytest

from labkit.packstack.explain import EVIDENCE_LINES, explain, failure, shown_errors
from labkit.packstack.known_failures import FAILURES, Failure, Where
from tests.support.packstack import NAMES, transcript


def ids(output: str, puppet: dict[str, str] | None = None) -> list[str]:
    return [one.failure.id for one in explain(output, puppet or {})]


@pytest.mark.parametrize("name", NAMES)
def test_transcript_is_explained_as_written_down(name: str) -> None:
    run = transcript(name)
    found = explain(run.output.decode(), run.puppet)
    assert [one.failure.id for one in found] == run.expected["failures"]
    for one in found:
        assert one.evidence
        assert len(one.evidence) <= EVIDENCE_LINES
        assert "{" not in one.cause + one.remedy
        assert "(unknown)" not in one.cause + one.remedy


@pytest.mark.parametrize("known", FAILURES, ids=lambda known: known.id)
def test_known_failure_has_a_transcript_or_no_text(told: set[str], known: Failure) -> None:
    assert (known.id in told) is bool(known.where)


@pytest.fixture(scope="module")
def told() -> set[str]:
    return {one for name in NAMES for one in transcript(name).expected["failures"]}


def test_registry_is_well_formed() -> None:
    assert len({known.id for known in FAILURES}) == len(FAILURES)
    for known in FAILURES:
        assert (known.pattern is None) is (not known.where)
        names = set(re.findall(r"\{(\w+)\}", known.cause + known.remedy))
        assert names <= set(known.pattern.groupindex if known.pattern else ())
        assert known.note is (known.where == {Where.BULLETS})
        assert known.cause.rstrip("}").endswith(".") or known.cause.endswith("{reason}")
        assert known.remedy.endswith(".")
        assert known.source


@pytest.mark.parametrize("name", ["hang", "network-lost"])
def test_failure_that_no_text_gives_away_is_found_by_its_id(name: str) -> None:
    assert (failure(name).id, failure(name).pattern) == (name, None)


def test_unknown_id_is_refused() -> None:
    with pytest.raises(KeyError):
        failure("nothing-of-the-kind")


def test_cause_names_what_was_found() -> None:
    run = transcript("tunnel-if")
    found = explain(run.output.decode(), {})[0]
    assert "'enp0s8' on 172.16.208.141" in found.cause
    assert "CONFIG_NEUTRON_OVS_TUNNEL_SUBNETS" in found.remedy
    assert found.evidence == (
        "Couldn't detect ipaddress of interface enp0s8 on node 172.16.208.141",
    )


def test_failure_in_puppets_log_names_the_node() -> None:
    run = transcript("rabbitmq-host")
    output = run.output.replace(b"Could not start Service[rabbitmq-server]", b"hidden").decode()
    found = explain(output, run.puppet)
    assert [(one.failure.id, one.node) for one in found] == [("rabbitmq-host", "controller")]


def test_warning_in_puppets_log_is_no_failure() -> None:
    assert ids("", {"controller": "Warning: No space left on device\nNotice: oom-killer\n"}) == []


def test_error_that_packstack_ignores_is_no_failure() -> None:
    text = "Error: Could not run: NetworkManager is not running\n"
    assert ids("", {"controller": text}) == []


def test_completed_run_explains_no_error_in_its_logs() -> None:
    run = transcript("allinone")
    assert ids(run.output.decode(), {"controller": "Error: No space left on device\n"}) == []


def test_hostile_text_is_neither_format_nor_endless() -> None:
    line = "Parameter CONFIG_X failed validation: {key} {0} " + "x" * 5000
    found = explain(f"{line}\n\nERROR : Failed handling answer file: {{reason}}\n", {})
    assert found[0].cause.startswith("Packstack refuses the value of CONFIG_X: {key} {0} x")
    assert max(len(text) for one in found for text in one.evidence) == 300


def test_shown_errors_tell_each_error_once_with_its_resource() -> None:
    run = transcript("missing-package")
    (line,) = shown_errors(run.puppet)
    assert line == (
        "controller: /Stage[main]/Nova::Api/Nova::Generic_service[api]/Package[nova-api]/ensure: "
        "change from purged to present failed: Execution of '/usr/bin/yum -d 0 -e 0 -y install "
        "openstack-nova-api' returned 1: Error: Nothing to do"
    )


def test_shown_errors_are_limited() -> None:
    log = "".join(f"Error: number {n}\n" + "  more\n" * 9 for n in range(99))
    assert len(shown_errors({"controller": log})) == 5 * EVIDENCE_LINES

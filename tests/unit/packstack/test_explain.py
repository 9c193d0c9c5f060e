"""Known failures, recognised in the transcripts under tests/data/packstack and in single texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labkit.packstack.detached import RunState, parse_sample
from labkit.packstack.explain import (
    ERROR_LINES,
    explain,
    explained,
    notes,
    run_failed,
    shown_errors,
    without_trace,
)
from labkit.packstack.known_failures import Failure, failures
from labkit.packstack.output.view import view_of
from labkit.packstack.run import RunOutcome
from tests.fakes.guest import sample
from tests.support.packstack import NAMES, transcript


def ids(output: str, puppet: dict[str, str] | None = None) -> list[str]:
    return [one.failure.id for one in explain(output, puppet or {})]


@pytest.mark.parametrize("name", NAMES)
def test_transcript_is_explained_as_written_down(name: str) -> None:
    run = transcript(name)
    found = explain(run.output.decode(), run.puppet)
    assert [one.failure.id for one in found] == run.expected["failures"]
    for one in found:
        assert "{" not in one.cause + one.remedy
        assert "(unknown)" not in one.cause + one.remedy


@pytest.mark.parametrize("known", failures(), ids=lambda known: known.id)
def test_known_failure_has_a_transcript(told: set[str], known: Failure) -> None:
    assert known.id in told


@pytest.fixture(scope="module")
def told() -> set[str]:
    return {one for name in NAMES for one in transcript(name).expected["failures"]}


@pytest.mark.parametrize("name", NAMES)
def test_notes_of_a_transcript_name_every_host_it_names(name: str) -> None:
    run = transcript(name)
    told = run.expected["additional"]
    texts = notes(view_of(run.output).bullets)
    kernels = [text for text in texts if "older kernel" in text]
    assert len(kernels) == len(told["needs_reboot"])
    for host, text in zip(told["needs_reboot"], kernels, strict=True):
        assert text == (
            f"The host {host} runs an older kernel than the one installed. "
            "'labkit halt' and 'labkit up' boot it."
        )
    others = " ".join(text for text in texts if text not in kernels)
    assert bool(others) is bool(told["network_manager"])
    for host in told["network_manager"]:
        assert host in others


def test_cause_names_what_was_found() -> None:
    run = transcript("tunnel-if")
    found = explain(run.output.decode(), {})[0]
    assert "'enp0s8' on 172.16.208.141" in found.cause
    assert "CONFIG_NEUTRON_OVS_TUNNEL_SUBNETS" in found.remedy


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
    assert len(found[0].cause) == 300


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
    assert len(shown_errors({"controller": log})) == 5 * ERROR_LINES


OUTPUT = (
    "Installing:\nClean Up   [ DONE ]\nApplying Puppet manifests   [ ERROR ]\n\n"
    "ERROR : Error appeared during Puppet run: 192.0.2.1_controller.pp\n"
    "Error: Execution of '/usr/bin/yum -d 0 -e 0 -y install openstack-nova-api' returned 1\n"
    "You will find full trace in log /var/tmp/packstack/x/manifests/192.0.2.1_controller.pp.log\n"
    "Please check log file /var/tmp/packstack/x/openstack-setup.log for more information\n"
)
PUPPET = {"controller: 192.0.2.1_controller.pp": "Error: password hunter2hunter2 refused\n"}


def outcome(**changes: object) -> RunOutcome:
    found = RunOutcome(
        view=view_of(OUTPUT.encode()),
        last=parse_sample(sample(state="ended", code="001")),
        output=OUTPUT,
        puppet=PUPPET,
        outages=0,
    )
    return replace(found, **changes)  # type: ignore[arg-type] # fields by name


def failed(found: RunOutcome, *, restorable: str = "pre-packstack") -> tuple[str, str, str]:
    error = run_failed(
        found, logs=Path("/logs"), secrets=["hunter2hunter2"], restorable=restorable
    )
    return error.message, "\n".join(error.details), error.hint


def test_failed_run_names_step_reason_logs_and_the_way_back() -> None:
    message, details, hint = failed(outcome())
    assert message == "Packstack failed in step 'Applying Puppet manifests' with exit code 1."
    assert "Error appeared during Puppet run: 192.0.2.1_controller.pp" in details
    assert "Logs of all nodes: /logs" in details
    assert "'labkit restore pre-packstack'" in hint
    assert "restore" not in failed(outcome(), restorable="")[2]


def test_failed_run_shows_no_password() -> None:
    _, details, _ = failed(outcome())
    assert "password ******** refused" in details
    assert "hunter2" not in details


def test_run_that_was_cut_off_says_by_what() -> None:
    rebooted = parse_sample(sample(state="lost", boot="22222222-2222"))
    killed = parse_sample(sample(state="lost"))
    assert "was rebooted while" in failed(outcome(last=rebooted))[0]
    assert "was killed in the controller" in failed(outcome(last=killed))[0]
    gone = replace(killed, state=RunState.NONE)
    assert "knows nothing of the Packstack run" in failed(outcome(last=gone))[0]


def test_full_disk_is_told_first() -> None:
    full = parse_sample(sample(state="ended", code="001", free=2**20))
    assert failed(outcome(last=full))[1].startswith(
        "The controller's root file system is full: 1 MiB are free."
    )


@pytest.mark.parametrize("output", ["", "\n\n"])
def test_run_that_printed_nothing_says_so(output: str) -> None:
    silent = outcome(view=view_of(b""), output=output, puppet={})
    assert "It printed nothing." in failed(silent)[1]


def test_known_failure_comes_with_its_remedy() -> None:
    cause, remedy = explained("Could not resolve host: mirrorlist.centos.org; Unknown error\n")[:2]
    assert cause.startswith("Cause: ")
    assert remedy.startswith("  Remedy: ")
    assert explained("all is well\n") == ()


def test_lines_that_only_trace_a_script_are_left_out_of_its_error() -> None:
    cause = "tar: ./modules/nova: Cannot mkdir: No space left on device"
    lines = (
        "Failed to run remote script, stdout:",
        "stderr: Warning: Permanently added '192.0.2.1' (ED25519) to the list of known hosts.",
        "+ trap t ERR",
        "++ hostname",
        "tar: Removing leading `../' from member names",
        "bash: warning: setlocale: LC_ALL: cannot change locale (en_US.utf-8)",
        cause,
        "++++ t",
    )
    assert without_trace(lines) == (*lines[:2], cause)
    assert without_trace(lines[2:4]) == lines[2:4]

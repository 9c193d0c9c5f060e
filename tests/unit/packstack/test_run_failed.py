from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labkit.packstack.detached import RunState, parse_sample
from labkit.packstack.output.view import view_of
from labkit.packstack.run import RunOutcome
from labkit.packstack.run_failed import explained, run_failed
from tests.fakes.guest import sample

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

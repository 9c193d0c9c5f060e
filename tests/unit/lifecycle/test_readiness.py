from __future__ import annotations

import threading
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NoReturn

import paramiko  # noqa: TID251 -- makes the keys of the fake server
import pytest

from labkit.errors import OperationError, UsageError
from labkit.host import ssh
from labkit.host.greetings import Greetings
from labkit.host.libvirt.xml import DomainState
from labkit.lifecycle import readiness
from labkit.lifecycle.readiness import Waiting, boot_budget, wait_ready
from labkit.state.progress import Event, Phase
from labkit.waiting import Deadline, WaitCancelled, WaitTimeout
from tests.fakes.ssh_server import FakeSshServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOOT_ID = "0b0c1d2e-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "id_rsa"
    paramiko.RSAKey.generate(2048).write_private_key_file(str(path))
    return path


@pytest.fixture
def server() -> Iterator[FakeSshServer]:
    answers = {readiness._SETTLE: (0, f"running\n{BOOT_ID}\n", "")}
    with FakeSshServer(paramiko.ECDSAKey.generate(), answers) as running:
        yield running


@pytest.fixture
def waiting(server: FakeSshServer, key_file: Path, tmp_path: Path) -> Waiting:
    key = server.host_key
    (tmp_path / "firstboot").write_text("labkit-firstboot: applied abc\n", encoding="utf-8")
    (tmp_path / "console").write_text(
        "\x1b[1;32mBooting\x1b[0m\r\n\r\nlast line", encoding="utf-8"
    )
    return Waiting(
        endpoint=ssh.Endpoint(
            node="controller",
            addresses=(IPv4Address("127.0.0.1"),),
            key_file=key_file,
            host_key=f"{key.get_name()} {key.get_base64()}",
            port=server.port,
        ),
        seed_id="abc",
        firstboot_log=tmp_path / "firstboot",
        console_log=tmp_path / "console",
        state=lambda: DomainState.RUNNING,
        started=lambda: False,
        deadline=Deadline.after(20),
        cancelled=lambda: False,
        progress=lambda _event: None,
        connect=ssh.connect,
        greet=Greetings,
        booted=lambda: None,
        report_seconds=0.1,
    )


def soon(waiting: Waiting) -> Waiting:
    return replace(waiting, deadline=Deadline.after(0.3))


def test_ready_node_is_reported_with_its_evidence(waiting: Waiting) -> None:
    events: list[Event] = []
    ready = wait_ready(replace(waiting, progress=events.append))
    assert (ready.node, ready.address, ready.boot_id) == ("controller", "127.0.0.1", BOOT_ID)
    assert ready.failed_units == ()
    done = [event.stage for event in events if event.phase is Phase.DONE]
    assert done == ["booting", "first boot", "SSH server", "system"]
    assert [name for name, _ in ready.seconds] == done


def test_system_that_reported_itself_is_only_asked_for_its_boot_id(
    waiting: Waiting, server: FakeSshServer
) -> None:
    with waiting.firstboot_log.open("a", encoding="utf-8") as log:
        log.write(f"labkit-firstboot: system running {BOOT_ID}\n")
    server.answers = {readiness._BOOT_ID: (0, f"{BOOT_ID}\n", "")}
    assert wait_ready(waiting).boot_id == BOOT_ID
    assert server.commands == [readiness._BOOT_ID]


def test_system_that_reports_itself_a_little_later_is_believed(
    waiting: Waiting, server: FakeSshServer
) -> None:
    def report() -> None:
        with waiting.firstboot_log.open("a", encoding="utf-8") as log:
            log.write(f"labkit-firstboot: system running {BOOT_ID}\n")

    def answer() -> tuple[int, str, str]:
        threading.Timer(0.2, report).start()
        return 0, f"{BOOT_ID}\n", ""

    server.answers = {readiness._BOOT_ID: answer}
    assert wait_ready(replace(waiting, report_seconds=10)).boot_id == BOOT_ID
    assert server.commands == [readiness._BOOT_ID]


def test_system_that_never_reports_itself_is_asked(
    waiting: Waiting, server: FakeSshServer
) -> None:
    server.answers = {**server.answers, readiness._BOOT_ID: (0, f"{BOOT_ID}\n", "")}
    assert wait_ready(waiting).boot_id == BOOT_ID
    assert server.commands == [readiness._BOOT_ID, readiness._SETTLE]


def test_ready_node_is_asked_over_the_connection_that_greeted(
    waiting: Waiting, server: FakeSshServer
) -> None:
    wait_ready(waiting)
    assert server.connections == 1


def test_guest_that_is_slow_to_greet_is_not_called_again(
    waiting: Waiting, server: FakeSshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "GREETING_SECONDS", 0.02)
    server.greets_after = 0.3
    assert wait_ready(waiting).boot_id == BOOT_ID
    assert server.connections == 1


@pytest.mark.parametrize(
    "report",
    [
        "labkit-firstboot: system running 00000000-0000-4000-8000-00000000000f\n",
        f"labkit-firstboot: system degraded {BOOT_ID}\n",
        f"labkit-firstboot: system running {BOOT_ID}",
    ],
)
def test_report_of_another_boot_or_of_trouble_is_checked_over_ssh(
    waiting: Waiting, server: FakeSshServer, report: str
) -> None:
    with waiting.firstboot_log.open("a", encoding="utf-8") as log:
        log.write(report)
    server.answers = {**server.answers, readiness._BOOT_ID: (0, f"{BOOT_ID}\n", "")}
    assert wait_ready(waiting).boot_id == BOOT_ID
    assert server.commands[-1] == readiness._SETTLE


def test_degraded_system_is_ready_and_names_its_failed_units(
    waiting: Waiting, server: FakeSshServer
) -> None:
    text = f"degraded\n{BOOT_ID}\nnetwork.service loaded failed failed LSB: Bring up\n"
    server.answers = {readiness._SETTLE: (1, text, "")}
    assert wait_ready(waiting).failed_units == ("network.service",)


def test_system_that_keeps_starting_times_out_with_that_reason(
    waiting: Waiting, server: FakeSshServer
) -> None:
    server.answers = {readiness._SETTLE: (0, f"starting\n{BOOT_ID}\n", "")}
    with pytest.raises(WaitTimeout) as caught:
        wait_ready(soon(waiting))
    assert "its system to settle" in caught.value.message
    assert any("starting" in line for line in caught.value.details)


def test_domain_that_never_appears_times_out_naming_the_layer(waiting: Waiting) -> None:
    with pytest.raises(WaitTimeout) as caught:
        wait_ready(replace(soon(waiting), state=lambda: None))
    assert "node 'controller': its domain to run" in caught.value.message


@pytest.mark.parametrize("state", [None, DomainState.SHUTOFF, DomainState.CRASHED])
def test_domain_that_is_off_after_its_start_fails_at_once(
    waiting: Waiting, state: DomainState | None
) -> None:
    stopped = replace(waiting, state=lambda: state, started=lambda: True)
    with pytest.raises(OperationError) as caught:
        wait_ready(stopped)
    assert not isinstance(caught.value, WaitTimeout)
    assert "'controller' stopped while it was starting" in caught.value.message


def test_domain_that_is_off_before_its_start_is_waited_for(waiting: Waiting) -> None:
    states = iter([None, DomainState.SHUTOFF])
    ready = wait_ready(replace(waiting, state=lambda: next(states, DomainState.RUNNING)))
    assert ready.boot_id == BOOT_ID


def test_missing_report_times_out_with_the_console_s_last_lines(waiting: Waiting) -> None:
    waiting.firstboot_log.write_text("", encoding="utf-8")
    with pytest.raises(WaitTimeout) as caught:
        wait_ready(soon(waiting))
    assert "its first boot's report" in caught.value.message
    assert caught.value.details[-2:] == ("  Booting", "  last line")
    assert str(waiting.console_log) in caught.value.hint


@pytest.fixture
def logs_of_root(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """Let no log be read. Tests may run as root, whom no file mode stops."""

    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    return waiting


@pytest.mark.usefixtures("logs_of_root")
def test_seed_of_a_node_whose_report_only_root_may_read_is_asked_over_ssh(
    waiting: Waiting, server: FakeSshServer
) -> None:
    server.answers = {**server.answers, readiness._APPLIED: (0, "abc\n", "")}
    events: list[Event] = []
    ready = wait_ready(replace(waiting, progress=events.append))
    assert (ready.boot_id, ready.evidence) == (BOOT_ID, "asked")
    assert "its report is for root alone, the guest is asked" in [event.note for event in events]


@pytest.mark.usefixtures("logs_of_root")
@pytest.mark.parametrize(
    ("answer", "found"), [((0, "old\n", ""), "old"), ((1, "", "no such file\n"), "no such file")]
)
def test_node_whose_report_only_root_may_read_and_that_took_another_seed_is_an_error(
    waiting: Waiting, server: FakeSshServer, answer: tuple[int, str, str], found: str
) -> None:
    server.answers = {**server.answers, readiness._APPLIED: answer}
    with pytest.raises(OperationError) as caught:
        wait_ready(waiting)
    assert caught.value.message == "The node 'controller' has not taken its seed."
    assert caught.value.details == (f"expected abc, found {found}",)
    assert "journalctl -u labkit-firstboot" in caught.value.hint


@pytest.mark.usefixtures("logs_of_root")
def test_failure_of_a_node_whose_console_only_root_may_read_says_how_to_read_it(
    waiting: Waiting,
) -> None:
    with pytest.raises(WaitTimeout) as caught:
        wait_ready(replace(soon(waiting), state=lambda: None))
    assert caught.value.hint == (
        f"Its console is a file of root's: 'sudo tail -n 50 {waiting.console_log}' shows its end."
    )


def test_seed_that_the_guest_reported_is_proven_by_that(waiting: Waiting) -> None:
    assert wait_ready(waiting).evidence == "report"


def test_node_that_did_not_boot_proves_no_seed(waiting: Waiting) -> None:
    assert wait_ready(replace(waiting, seed_id="")).evidence == ""


def test_failed_first_boot_is_an_error_at_once(waiting: Waiting) -> None:
    waiting.firstboot_log.write_text("labkit-firstboot: failed bad sum\n", encoding="utf-8")
    with pytest.raises(OperationError, match="failed in node 'controller': bad sum"):
        wait_ready(waiting)


def test_report_of_another_seed_is_not_taken(waiting: Waiting) -> None:
    waiting.firstboot_log.write_text("labkit-firstboot: applied old\n", encoding="utf-8")
    with pytest.raises(WaitTimeout):
        wait_ready(soon(waiting))


def test_guest_that_stops_while_starting_is_an_error_at_once(waiting: Waiting) -> None:
    waiting.firstboot_log.write_text("", encoding="utf-8")
    states = iter([DomainState.RUNNING, DomainState.SHUTOFF])
    with pytest.raises(OperationError, match="stopped while it was starting"):
        wait_ready(replace(waiting, state=lambda: next(states)))


def test_silent_guest_times_out_at_the_ssh_layer(waiting: Waiting, server: FakeSshServer) -> None:
    nobody = replace(waiting.endpoint, addresses=(IPv4Address("127.0.0.2"),))
    with pytest.raises(WaitTimeout, match="its SSH server"):
        wait_ready(replace(soon(waiting), endpoint=nobody))
    assert server.commands == []


def test_foreign_host_key_is_an_error_at_once(waiting: Waiting) -> None:
    other = paramiko.ECDSAKey.generate()
    wrong = replace(waiting.endpoint, host_key=f"{other.get_name()} {other.get_base64()}")
    with pytest.raises(ssh.WrongHostKeyError):
        wait_ready(replace(waiting, endpoint=wrong))


def test_cancelled_wait_ends(waiting: Waiting) -> None:
    with pytest.raises(OperationError) as caught:
        wait_ready(replace(waiting, cancelled=lambda: True))
    assert isinstance(caught.value, WaitCancelled)


def test_boot_budget_is_the_users_when_there_is_one() -> None:
    def budget(wanted: dict[str, str], *, accelerated: bool = True) -> float:
        return boot_budget(wanted, accelerated=accelerated, guests=9, cpus=2)

    assert budget({"LABKIT_BOOT_SECONDS": "1800"}) == 1800
    assert budget({"LABKIT_BOOT_SECONDS": ""}) == budget({})
    assert budget({}, accelerated=False) > budget({})


@pytest.mark.parametrize("wrong", ["soon", "0", "-1", "nan", "inf", "1 h"])
def test_boot_budget_that_is_no_number_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=f"'{wrong}'"):
        boot_budget({"LABKIT_BOOT_SECONDS": wrong}, accelerated=True, guests=1, cpus=1)

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError, LabkitError, OperationError
from labkit.lifecycle.rehearsal import plan, rehearse
from labkit.state.directory import LabState, NodeState
from labkit.state.lock import LabInUseError
from tests.fakes.libvirt import FakeHost
from tests.support import labs, sessions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.state.session import Session

LAB = labs.lab()
NAMES = ("up", "deploy", "verify")


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: FakeHost) -> Session:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "records"))
    return sessions.session(tmp_path, LAB, host)


def steps(
    host: FakeHost, **failures: BaseException
) -> tuple[tuple[str, Callable[[Session], str]], ...]:
    def work(name: str, session: Session) -> str:
        if name == "up":
            host.add_lab(session.lab)
        if name in failures:
            raise failures[name]
        return "fine"

    return tuple((name, partial(work, name)) for name in NAMES)


def test_rehearsal_ends_with_destroy(session: Session, host: FakeHost, tmp_path: Path) -> None:
    result = rehearse(session, steps(host))
    assert [each.name for each in result.stages.ended] == [*NAMES, "destroy"]
    assert result.as_json()["results"] == {
        **dict.fromkeys(NAMES, "fine"),
        "destroy": "7 things removed, nothing left",
    }
    assert (host.domains, host.volumes) == ({}, {})
    assert not (tmp_path / ".labkit").exists()


@pytest.mark.parametrize("step", NAMES)
def test_rehearsal_that_fails_destroys_its_lab_and_raises_that(
    session: Session, host: FakeHost, step: str
) -> None:
    with pytest.raises(OperationError, match="It broke") as caught:
        rehearse(session, steps(host, **{step: OperationError("It broke.")}))
    assert caught.value.details == ()
    assert (host.domains, host.volumes) == ({}, {})


def test_rehearsal_that_is_interrupted_destroys_its_lab(session: Session, host: FakeHost) -> None:
    with pytest.raises(KeyboardInterrupt):
        rehearse(session, steps(host, deploy=KeyboardInterrupt()))
    assert host.domains == {}


def test_rehearsal_whose_destroy_fails_too_raises_the_first_and_tells_both(
    session: Session, host: FakeHost
) -> None:
    host.fail("undefine", "demo_compute", OperationError("libvirt refuses."))
    with pytest.raises(OperationError, match="It broke") as caught:
        rehearse(session, steps(host, deploy=OperationError("It broke.", details=("why",))))
    assert caught.value.details[:3] == (
        "why",
        "And then it could not be destroyed:",
        "Not everything of the lab 'demo' could be removed.",
    )
    assert "domain demo_compute" in caught.value.details


def require_refused(session: Session, host: FakeHost, named: str) -> None:
    before = dict(host.domains)
    with pytest.raises(LabkitError, match=f"The lab 'demo' exists: {named}") as caught:
        rehearse(session, steps(host))
    assert "sandbox" in caught.value.hint
    assert (host.domains, host.calls) == (before, [])


def test_rehearsal_of_a_lab_that_runs_is_refused_and_leaves_it(
    session: Session, host: FakeHost
) -> None:
    host.add_lab(LAB)
    require_refused(session, host, "'demo_compute', 'demo_controller'")
    assert not session.directory.path.parent.exists()


def test_rehearsal_of_a_lab_that_is_on_record_is_refused_and_leaves_it(
    session: Session, host: FakeHost
) -> None:
    session.directory.create()
    state = LabState(lab="demo", lab_id=LAB.lab_id, nodes={"old": NodeState()})
    session.directory.save(state)
    require_refused(session, host, "'old'")
    assert session.state() == state


def test_rehearsal_of_a_lab_another_labkit_makes_leaves_it(
    session: Session, host: FakeHost
) -> None:
    # It came between the look and `up`, and is done by the time a `destroy` would take the lab.
    with pytest.raises(LabInUseError):
        rehearse(session, steps(host, up=LabInUseError("in use")))
    assert len(host.domains) == 2


def test_rehearsal_without_libvirt_touches_nothing(
    session: Session, host: FakeHost, tmp_path: Path
) -> None:
    host.fail("connect", "", HostError("libvirtd does not answer."))
    with pytest.raises(HostError):
        rehearse(session, steps(host))
    assert list(tmp_path.iterdir()) == []


def test_plan_of_a_rehearsal_names_nodes_and_stages(session: Session, tmp_path: Path) -> None:
    first, second, stages, end = plan(session)
    assert (first, second) == ("would create controller", "would create compute")
    assert stages.startswith("would go through up, up again, status, ")
    assert end == "would remove the lab"
    assert list(tmp_path.iterdir()) == []


def test_plan_of_a_rehearsal_of_a_lab_that_runs_is_refused(
    session: Session, host: FakeHost
) -> None:
    host.add_lab(LAB)
    with pytest.raises(OperationError, match="The lab 'demo' exists"):
        plan(session)

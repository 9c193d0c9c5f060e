from __future__ import annotations

import json
import shutil
import subprocess  # noqa: TID251 -- a fresh Python, to see what it loads
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import count
from typing import TYPE_CHECKING

import paramiko  # noqa: TID251 -- makes the keys of the fake server
import pytest
from typer.testing import CliRunner

from labkit.cli.app import add_verbs, app
from labkit.errors import LabkitError, OperationError, UsageError
from labkit.host import ssh
from labkit.state.directory import LabDirectory
from labkit.state.session import Session, host_key
from labkit.verify.check import Verdict
from labkit.verify.outputs import Kind, Output, command_seconds
from labkit.verify.run import REACHABLE, Collected, collect, from_directory, judge, settled, verify
from tests.fakes.ssh_server import Answer, FakeSshServer
from tests.fakes.tools import tools
from tests.support import examples, mutations, transcripts

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.lab.topology import ResolvedNode
    from labkit.state.progress import Event
    from tests.support.transcripts import Outputs

LAB = examples.example("packstack")
EVERYTHING = transcripts.whole(LAB)
ROOT_LAB = ["--lab", str(examples.ROOT / "lab.yaml")]


@dataclass
class MeetingAnswers(Mapping[str, Answer]):
    """Answers only when another node is being asked at the same moment."""

    answer: Answer
    meeting: threading.Barrier | None = None
    asked: list[str] = field(default_factory=list)

    def __getitem__(self, command: str) -> Answer:
        self.asked.append(command)
        if self.meeting is not None:
            try:
                self.meeting.wait(timeout=5)
            except threading.BrokenBarrierError:
                return (1, "", "the nodes are not asked side by side")
        return self.answer

    def __iter__(self) -> Iterator[str]:
        return iter([ssh.AS_ROOT])

    def __len__(self) -> int:
        return 1


@dataclass
class FakeNodes:
    """An SSH server per node of the lab."""

    key_file: Path
    servers: dict[str, FakeSshServer] = field(default_factory=dict)

    def endpoint(self, node: ResolvedNode) -> ssh.Endpoint:
        server = self.servers[node.name]
        return ssh.Endpoint(
            node=node.name,
            addresses=(IPv4Address("127.0.0.1"),),
            key_file=self.key_file,
            host_key=f"{server.host_key.get_name()} {server.host_key.get_base64()}",
            port=server.port,
        )


Start = Callable[..., FakeNodes]


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "id_rsa"
    paramiko.RSAKey.generate(2048).write_private_key_file(str(path))
    return path


@pytest.fixture
def start(key_file: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(**answers: Mapping[str, Answer]) -> FakeNodes:
            nodes = FakeNodes(key_file)
            for name, table in answers.items():
                server = FakeSshServer(paramiko.ECDSAKey.generate(), table)
                nodes.servers[name] = stack.enter_context(server)
            return nodes

        yield begin


def silent(_event: Event) -> None:
    return


def test_nodes_are_asked_side_by_side_with_one_command_each(start: Start) -> None:
    meeting = threading.Barrier(2)
    tables = {
        name: MeetingAnswers((0, transcripts.packed(files), ""), meeting)
        for name, files in EVERYTHING.items()
    }
    collected = collect(LAB, start(**tables).endpoint, connect=ssh.connect, progress=silent)

    assert collected.outputs == EVERYTHING
    assert [table.asked for table in tables.values()] == [[ssh.AS_ROOT], [ssh.AS_ROOT]]
    report = judge(LAB, collected.outputs, unreachable=collected.unreachable)
    assert {result.verdict for result in report.results} == {Verdict.OK}
    assert [r.node for r in report.results if r.check == REACHABLE] == [
        "controller",
        "compute",
    ]


def test_node_that_cannot_be_reached_fails_one_check_and_leaves_the_rest(start: Start) -> None:
    nodes = start(
        controller=MeetingAnswers((0, transcripts.packed(EVERYTHING["controller"]), "")),
        compute={},
    )
    wrong = paramiko.ECDSAKey.generate()

    def endpoint(node: ResolvedNode) -> ssh.Endpoint:
        end = nodes.endpoint(node)
        if node.name == "controller":
            return end
        return ssh.Endpoint(
            node=node.name, addresses=end.addresses, key_file=end.key_file, port=end.port,
            host_key=f"{wrong.get_name()} {wrong.get_base64()}",
        )  # fmt: skip

    found = collect(LAB, endpoint, connect=ssh.connect, progress=silent)
    report = judge(LAB, found.outputs, unreachable=found.unreachable)
    results = {r.check: r for r in report.by_node()["compute"]}
    first = results.pop(REACHABLE)
    assert first.verdict is Verdict.FAILED
    assert "another SSH host key" in first.seen
    assert {r.verdict for r in results.values()} == {Verdict.NOT_JUDGED}
    assert {r.verdict for r in report.by_node()["controller"]} == {Verdict.OK}


def test_answer_that_is_none_makes_the_node_unreachable_with_its_words(start: Start) -> None:
    nodes = start(
        controller={ssh.AS_ROOT: (1, "", "sudo: a password is required\n")},
        compute={ssh.AS_ROOT: (0, transcripts.packed(EVERYTHING["compute"])[:-5], "")},
    )
    collected = collect(LAB, nodes.endpoint, connect=ssh.connect, progress=silent)
    assert "sudo: a password is required" in collected.unreachable["controller"]
    assert "more or fewer bytes" in collected.unreachable["compute"]


class FakeNode(ssh.Connection):
    """A node that has these outputs and prints those of them that it is asked for."""

    def __init__(self, name: str, world: FakeWorld) -> None:
        self.name = name
        self.world = world

    def close(self) -> None:
        """Be closed."""

    def run_script(self, script: str, *, what: str, timeout: float) -> ssh.ScriptResult:
        del what
        assert timeout > command_seconds(LAB)
        files = self.world.now[self.name]
        asked = {name: files[name] for name in files if name in script}
        self.world.asked[-1].setdefault(self.name, set()).update(asked)
        packed = transcripts.packed(asked).encode()
        return ssh.ScriptResult(returncode=0, stdout=packed, stderr="")


@dataclass
class FakeWorld:
    """A lab that is asked again and again.

    Attributes:
        told: What its nodes have at the first question, at the second, and so on; the last stays.
        asked: Per question, what each node was asked for.
    """

    told: list[Outputs]
    asked: list[dict[str, set[str]]] = field(default_factory=list)

    @property
    def now(self) -> Outputs:
        return self.told[min(len(self.asked), len(self.told)) - 1]

    def ssh(
        self, endpoint: ssh.Endpoint, *, greeted: ssh.Greeting | None = None
    ) -> ssh.Connection:
        del greeted
        if not self.asked or endpoint.node in self.asked[-1]:
            self.asked.append({})
        self.asked[-1][endpoint.node] = set()
        return FakeNode(endpoint.node, self)


@pytest.fixture
def session_with(tmp_path: Path) -> Callable[[FakeWorld], Session]:
    directory = LabDirectory(tmp_path / "packstack")
    directory.create()
    for node in LAB.nodes:
        key = host_key(directory, node.name)
        key.with_name(f"{key.name}.pub").write_text("ssh-ed25519 AAAA it\n")

    def session(world: FakeWorld) -> Session:
        ticking = count(0.0, 20.0)
        return Session(
            lab=LAB,
            lab_file=tmp_path / "lab.yaml",
            directory=directory,
            progress=silent,
            tools=tools(ssh=world.ssh, clock=lambda: next(ticking)),
        )

    return session


def with_output(node: str, file: str, output: Output) -> Outputs:
    """Return the outputs of a lab that is as it should be, but for one."""
    outputs: Outputs = {name: dict(files) for name, files in EVERYTHING.items()}
    outputs[node][file] = output
    return outputs


LATE = Output(text="", returncode=124, stderr="it was given 50 s\n")
GREEN: Outputs = {name: dict(files) for name, files in EVERYTHING.items()}
AGENTS = Kind.AGENTS.value


def test_lab_that_is_not_green_yet_is_asked_again_for_that_alone(
    session_with: Callable[[FakeWorld], Session],
) -> None:
    world = FakeWorld([with_output("controller", AGENTS, LATE), GREEN])
    assert settled(session_with(world)).passed
    assert [set(each) for each in world.asked] == [{"controller", "compute"}, {"controller"}]
    assert world.asked[1]["controller"] == {AGENTS}


def test_lab_whose_files_alone_are_wrong_is_not_asked_again(
    session_with: Callable[[FakeWorld], Session],
) -> None:
    wrong = Output(text="DEVICE=br-ex\n")
    world = FakeWorld([with_output("controller", "ifcfg-br-ex", wrong)])
    report = settled(session_with(world))
    assert {r.check for r in report.results if r.failed} == {"ifcfg-bridge"}
    assert len(world.asked) == 1


def test_lab_that_never_tells_in_time_is_left_open_at_the_end_and_not_called_wrong(
    session_with: Callable[[FakeWorld], Session],
) -> None:
    world = FakeWorld([with_output("controller", AGENTS, LATE)])
    report = settled(session_with(world))
    assert len(world.asked) > 1
    assert not report.passed
    assert not any(result.failed for result in report.results)


def test_lab_found_green_just_now_is_not_asked_again(
    session_with: Callable[[FakeWorld], Session],
) -> None:
    world = FakeWorld([GREEN])
    session = session_with(world)
    assert settled(session, verify(session)).passed
    assert len(world.asked) == 1


def test_newer_outputs_take_the_place_of_older_ones() -> None:
    one, two = Output(text="1"), Output(text="2")
    old = Collected(
        outputs={"a": {"x": one, "y": one}, "b": {"x": one}}, unreachable={"c": "off", "d": "off"}
    )
    new = Collected(outputs={"a": {"x": two}, "c": {"x": two}}, unreachable={"b": "gone"})
    assert old.then(new) == Collected(
        outputs={"a": {"x": two, "y": one}, "b": {"x": one}, "c": {"x": two}},
        unreachable={"d": "off", "b": "gone"},
    )


def test_lab_that_was_never_up_is_an_error() -> None:
    def endpoint(node: ResolvedNode) -> ssh.Endpoint:
        message = f"The node '{node.name}' has no SSH host key yet."
        raise OperationError(message)

    with pytest.raises(LabkitError, match="no SSH host key yet"):
        collect(LAB, endpoint, connect=ssh.connect, progress=silent)


def test_saved_outputs_are_judged_the_same_again(tmp_path: Path) -> None:
    outputs: Outputs = {node: dict(files) for node, files in EVERYTHING.items()}
    outputs["compute"]["ovs-vsctl-show.txt"] = Output(text="", returncode=1, stderr="no\ndb\n")
    outputs["compute"]["ip-addr.txt"] = Output(
        text=outputs["compute"]["ip-addr.txt"].text, stderr="a warning\n"
    )
    transcripts.save(outputs, tmp_path)
    assert from_directory(LAB, tmp_path) == judge(LAB, outputs)


@pytest.mark.parametrize("empty", [{"controller", "compute"}, {"compute"}])
def test_node_of_which_nothing_is_there_is_named_and_does_not_pass(
    tmp_path: Path, empty: set[str]
) -> None:
    transcripts.save(EVERYTHING, tmp_path)
    for node in empty:
        shutil.rmtree(tmp_path / node)
        (tmp_path / node).mkdir()
    junit = tmp_path / "junit.xml"
    given = ["verify", *ROOT_LAB, "--from", str(tmp_path), "--junit", str(junit)]
    done = CliRunner().invoke(app, [*given, "--json"])

    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert not told["passed"]
    failed = {r["node"]: r["seen"] for r in told["results"] if r["verdict"] == "failed"}
    assert failed == {node: f"no output of node '{node}'" for node in empty}
    assert junit.read_text().count("<failure") == len(empty)
    assert CliRunner().invoke(app, given).stdout.count("FAILED      judged") == len(empty)


def test_node_that_answers_without_outputs_does_not_pass() -> None:
    report = judge(LAB, {}, unreachable={})
    assert not report.passed
    assert {r.node for r in report.results if r.failed} == {"controller", "compute"}


def test_directory_without_a_node_is_a_mistake_and_no_pass(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none is there"):
        from_directory(LAB, tmp_path)
    (tmp_path / "compute" / "ip-addr.txt").mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be read"):
        from_directory(LAB, tmp_path)


@pytest.fixture(autouse=True)
def _all_verbs() -> None:
    add_verbs()


def test_verb_passes_on_the_walk_through_and_writes_both_reports(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    given = ["verify", *ROOT_LAB, "--from", str(transcripts.DOCUMENT)]
    done = CliRunner().invoke(app, [*given, "--json", "--junit", str(junit)])

    assert done.exit_code == 0
    assert json.loads(done.stdout)["counts"] == {"ok": 26, "failed": 0, "not judged": 11}
    assert junit.read_text(encoding="utf-8").count("<testcase ") == 37
    shown = CliRunner().invoke(app, given)
    assert shown.stdout.endswith("packstack: 26 ok, 0 failed, 11 not judged\n")


def test_verb_ends_with_1_when_a_check_fails(tmp_path: Path) -> None:
    [change] = [each for each in mutations.DOCUMENT if each.name == "missing tunnel"]
    transcripts.save(change.of(transcripts.document()), tmp_path)
    done = CliRunner().invoke(app, ["verify", *ROOT_LAB, "--from", str(tmp_path)])
    assert done.exit_code == 1
    assert "FAILED      vxlan-ports" in done.stdout


def test_verb_refuses_a_report_it_could_not_write(tmp_path: Path) -> None:
    target = str(tmp_path / "missing" / "junit.xml")
    given = ["verify", *ROOT_LAB, "--from", str(transcripts.DOCUMENT), "--junit", target]
    done = CliRunner().invoke(app, given)
    assert isinstance(done.exception, UsageError)


def test_verb_on_kept_outputs_loads_neither_libvirt_nor_ssh() -> None:
    code = (
        "import sys\nfrom labkit.cli.app import add_verbs, app\nadd_verbs()\n"
        f"app(['verify', *{ROOT_LAB!r}, '--from', {str(transcripts.DOCUMENT)!r}],"
        " standalone_mode=False)\n"
        "print(sorted({'libvirt', 'paramiko', 'rich'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"

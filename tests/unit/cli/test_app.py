from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.definition import find_box
from labkit.host import process
from tests.support.boxtree import add_box, put_in_cache
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from tests.support.commandline import Run

VERBS = (
    "up", "status", "verify", "ssh", "console", "halt", "recreate", "destroy", "sweep", "box", "render", "graph", "validate", "schema",
    "sandbox", "rehearsal", "doctor", "scenarios", "deploy", "add-compute", "logs", "explain",
    "snapshot", "snapshots", "restore",
)  # fmt: skip
HOSTILE = """\
name: UPPER
box: rehearsal
colour: blue
dns: {servers: [nowhere], domain: demo.test}
networks:
  lan: {mode: nat, cidr: 10.0.0.0/24, gateway: 10.0.1.1}
nodes:
  one:
    roles: [controller]
    cpus: many
    memory: 512
    nics:
      enp0s3: {network: lan, address: 10.0.0.3}
  $(reboot):
    roles: [compute]
    cpus: 1
    memory: 512 MiB
    nics:
      eth0: {network: lan, address: 10.0.0.4}
"""


@pytest.fixture
def document(run: Run) -> Path:  # noqa: ARG001 -- it has to change the directory first
    shutil.copy(ROOT / "lab.yaml", "lab.yaml")
    return Path("lab.yaml")


def test_help_lists_every_verb(run: Run) -> None:
    ended = run("--help")
    assert ended.code == 0
    assert set(VERBS) <= set(re.findall(r"[\w-]+", ended.out))


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_printed(run: Run, verb: str) -> None:
    ended = run(verb, "-h")
    assert ended.code == 0
    assert "Usage: " in ended.out


def test_version_is_printed(run: Run) -> None:
    ended = run("--version")
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"labkit \d+\.\d+\.\d+\n", ended.out)


@pytest.mark.parametrize("arguments", [["dance"], ["up", "--no-such-option"], ["ssh"]])
def test_wrong_command_line_exits_with_2(run: Run, arguments: list[str]) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err


def test_missing_lab_file_exits_with_2_and_names_it(run: Run) -> None:
    ended = run("validate")
    assert (ended.code, ended.out) == (2, "")
    assert "lab.yaml" in ended.err
    assert "Traceback" not in ended.err


def test_hostile_lab_file_is_reported_whole_with_lines_and_columns(run: Run) -> None:
    Path("lab.yaml").write_text(HOSTILE)
    ended = run("validate")
    places = re.findall(r"^ *lab\.yaml:(\d+):\d+: ", ended.err, re.MULTILINE)
    assert ended.code == 2
    assert {1, 3, 4, 6, 10, 11, 14, 19} <= {int(line) for line in places}, ended.err
    assert ended.err.startswith("error: ")
    assert "hint: " in ended.err


@pytest.mark.parametrize(
    "verb", [["up"], ["status"], ["halt"], ["destroy"], ["render", "out"], ["graph"]]
)
def test_broken_lab_file_stops_every_verb_before_it_does_anything(
    run: Run, verb: list[str]
) -> None:
    Path("lab.yaml").write_text(HOSTILE)
    assert run(*verb).code == 2
    assert [path.name for path in Path().iterdir()] == ["lab.yaml"]


@pytest.mark.usefixtures("document")
def test_valid_lab_file_is_said_to_be_valid(run: Run) -> None:
    ended = run("validate")
    assert (ended.code, ended.err) == (0, "")
    assert "lab 'packstack' with 2 nodes" in ended.out


@pytest.mark.parametrize("verb", ["ssh", "console"])
@pytest.mark.usefixtures("document")
def test_unknown_node_exits_with_2_and_names_the_known_ones(run: Run, verb: str) -> None:
    ended = run(verb, "nobody")
    assert ended.code == 2
    assert "no node 'nobody'; it has 'controller', 'compute'" in ended.err


@pytest.mark.parametrize("verb", ["ssh", "console"])
@pytest.mark.usefixtures("document")
def test_node_that_was_never_made_exits_with_4_and_a_hint(run: Run, verb: str) -> None:
    ended = run(verb, "controller")
    assert (ended.code, ended.out) == (4, "")
    assert "hint: Run 'labkit up' first." in ended.err


@pytest.mark.parametrize("separator", [[], ["--"]])
@pytest.mark.usefixtures("document")
def test_options_after_the_node_belong_to_the_remote_command(
    run: Run, separator: list[str]
) -> None:
    ended = run("ssh", "controller", *separator, "ls", "-l", "--help", "--lab", "x")
    # It got as far as looking for the node's key: neither help nor another lab file was taken.
    assert (ended.code, ended.out) == (4, "")
    assert "has no SSH host key yet" in ended.err


@pytest.mark.usefixtures("document")
def test_state_directory_that_cannot_be_made_exits_with_3(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("occupied").write_text("a file")
    monkeypatch.setenv("LABKIT_STATE_DIR", "occupied")
    for verb in ("up", "halt", "destroy"):
        ended = run(verb)
        assert ended.code == 3
        assert "LABKIT_STATE_DIR" in ended.err
        assert "Traceback" not in ended.err


@pytest.mark.parametrize("verb", ["status", "destroy", "up", "deploy"])
@pytest.mark.usefixtures("document")
def test_file_that_cannot_be_read_is_a_sentence_with_exit_code_3(run: Run, verb: str) -> None:
    Path(".labkit/packstack/state.json").mkdir(parents=True)
    ended = run(verb)
    assert (ended.code, ended.out) == (3, "")
    assert re.match(r"error: labkit cannot use '/.*/state\.json': Is a directory\.\n", ended.err)
    assert "hint: " in ended.err
    assert "unexpected" not in ended.err


@pytest.mark.usefixtures("document")
def test_name_longer_than_the_file_system_takes_is_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_STATE_DIR", "x" * 300)
    for verb in ("status", "halt", "destroy"):
        ended = run(verb)
        assert ended.code == 3
        assert "File name too long" in ended.err
        assert "unexpected" not in ended.err


@pytest.mark.usefixtures("document")
def test_render_writes_into_the_directory_and_says_how_much(run: Run) -> None:
    ended = run("render", "out", "--box", "rehearsal")
    assert (ended.code, ended.out) == (0, "")
    assert Path("out/Vagrantfile").is_file()
    assert not Path(".labkit").exists()
    again = run("render", "out", "--box", "rehearsal")
    assert again.code == 2
    assert "'out' is not empty" in again.err


@pytest.mark.usefixtures("document")
def test_render_writes_the_answer_file_without_secrets_and_the_command(run: Run) -> None:
    assert run("render", "out").code == 0
    command = Path("out/packstack-command.txt").read_text(encoding="utf-8")
    assert command == "packstack --answer-file=/var/lib/labkit/answers.cfg\n"
    text = Path("out/answers.cfg").read_text(encoding="utf-8")
    assert "CONFIG_NEUTRON_OVS_TUNNEL_IF=enp0s8\n" in text
    passwords = re.findall(r"^CONFIG_\w+_PW=(.*)$", text, re.MULTILINE)
    assert len(passwords) > 30
    assert set(passwords) == {"********"}


def test_scenarios_as_json_names_form_and_verb_of_each(run: Run) -> None:
    ended = run("scenarios", "--json")
    found = {each["name"]: each for each in json.loads(ended.out)["scenarios"]}
    assert set(found) == {"add-compute", "allinone", "external-network", "multinode"}
    assert found["allinone"]["forms"] == ["command", "answer-file"]
    assert (found["add-compute"]["forms"], found["add-compute"]["verb"]) == ([], "add-compute")
    assert all(each["summary"] and each["asks"] for each in found.values())


def test_scenarios_fit_80_columns(run: Run) -> None:
    ended = run("scenarios")
    assert (ended.code, ended.err) == (0, "")
    assert "external-network" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


@pytest.mark.usefixtures("document")
def test_graph_prints_mermaid_or_an_image_and_leaves_nothing(run: Run) -> None:
    before = sorted(Path().iterdir())
    text, image = run("graph"), run("graph", "--svg")

    assert (text.code, text.err) == (image.code, image.err) == (0, "")
    assert text.out.startswith("flowchart TB\n")
    assert image.out.startswith("<svg ")
    assert sorted(Path().iterdir()) == before


def test_schema_is_json_on_standard_output(run: Run) -> None:
    ended = run("schema")
    assert (ended.code, ended.err) == (0, "")
    assert {"name", "networks", "nodes"} <= set(json.loads(ended.out)["properties"])


def test_box_list_as_json_names_the_stand_in(run: Run) -> None:
    ended = run("box", "list", "--json")
    boxes = {box["name"]: box for box in json.loads(ended.out)["boxes"]}
    assert boxes["rehearsal"]["stand_in"] is True
    assert boxes["rehearsal"]["cached"] is None


def test_box_list_fits_80_columns(run: Run) -> None:
    ended = run("box", "list")
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "rehearsal" in ended.out


@pytest.mark.parametrize("verb", ["build", "verify", "remove"])
def test_unknown_box_in_a_box_verb_exits_with_2(run: Run, verb: str) -> None:
    ended = run("box", verb, "no-such-box")
    assert ended.code == 2
    assert "rehearsal" in ended.err


@pytest.fixture
def own_box(document: Path) -> Path:
    """A lab file with the box 'mine' beside it; returns the box's directory."""
    directory = add_box(document.parent, "mine")
    document.write_text(re.sub(r"(?m)^box: \S+", "box: mine", document.read_text()))
    return directory


def test_box_beside_the_lab_file_is_known_to_every_verb(run: Run, own_box: Path) -> None:
    assert run("validate").code == 0
    assert run("render", "out").code == 0
    assert "labkit-mine-" in Path("out/Vagrantfile").read_text()
    assert run("box", "why", "mine").out == "mine: to be built, it never was\n"
    Path("below").mkdir()
    os.chdir("below")
    assert run("box", "why", "mine").code == 0
    os.chdir("..")
    os.chdir(own_box.parent)
    Path("../lab.yaml").rename("../other.yaml")
    assert run("box", "why", "mine").code == 2
    assert run("box", "why", "mine", "--lab", "../other.yaml").code == 0


@pytest.mark.usefixtures("own_box")
def test_box_list_says_where_a_box_is_from_when_there_are_two_places(run: Run) -> None:
    lines = [line.split() for line in run("box", "list").out.splitlines()]
    found = {line[0]: line[-1] for line in lines if "from" in line}
    assert (found["mine"], found["centos7"]) == ("'boxes'", "labkit")
    boxes = {box["name"]: box for box in json.loads(run("box", "list", "--json").out)["boxes"]}
    assert boxes["mine"]["directory"] == str(Path("boxes/mine").absolute())


def test_box_list_goes_on_past_a_broken_box_and_tells_of_it(run: Run, own_box: Path) -> None:
    (own_box / "box.yaml").write_text("a: [\n")
    ended = run("box", "list")
    assert ended.code == 0
    assert "labkit box why mine" in " ".join(ended.out.split())
    boxes = {box["name"]: box for box in json.loads(run("box", "list", "--json").out)["boxes"]}
    assert boxes["mine"]["key"] is None
    assert "cannot be read" in boxes["mine"]["problem"]
    assert boxes["centos7"]["problem"] is None


def test_validate_tells_every_problem_of_a_box_beside_the_lab_file(
    run: Run, own_box: Path
) -> None:
    (own_box / "box.yaml").write_text("based_on: rehearsal\ndisk_gib: lots\nx: 1\n")
    ended = run("validate")
    assert ended.code == 2
    assert "disk_gib:" in ended.err
    assert "x:" in ended.err


def test_validate_of_a_box_without_box_yaml_says_what_is_missing(run: Run, own_box: Path) -> None:
    (own_box / "box.yaml").unlink()
    ended = run("validate")
    assert ended.code == 2
    assert "'boxes/mine' has no box.yaml" in ended.err


def test_box_verb_with_a_lab_file_that_is_not_there_exits_with_2(run: Run) -> None:
    ended = run("box", "list", "--lab", "nowhere.yaml")
    assert ended.code == 2
    assert "'nowhere.yaml' does not exist" in ended.err


def test_box_list_tells_of_what_is_built_of_a_lab_that_is_gone(
    run: Run, own_box: Path, tmp_path: Path
) -> None:
    put_in_cache(find_box("mine", beside=own_box.parents[1]), tmp_path / "cache")
    shutil.rmtree(own_box)
    assert "the cache also has boxes of labs elsewhere: mine" in run("box", "list").err


def test_verify_of_a_box_that_is_not_built_exits_with_4(run: Run) -> None:
    ended = run("box", "verify", "rehearsal")
    assert ended.code == 4
    assert "labkit box build rehearsal" in ended.err


@pytest.mark.usefixtures("document")
def test_rehearsal_report_into_a_missing_directory_exits_with_2(run: Run) -> None:
    ended = run("rehearsal", "--report", "nowhere/report.json")
    assert ended.code == 2
    assert "nowhere/report.json" in ended.err


@pytest.mark.usefixtures("document")
def test_deploy_says_in_a_dry_run_what_it_would_do_as_json_too(run: Run) -> None:
    plain = run("deploy", "--dry-run")
    told = json.loads(run("deploy", "--dry-run", "--json").out)
    assert list(told) == ["format", "lab", "dry_run", "plan"]
    assert told["plan"] == plain.out.splitlines()
    assert run("deploy", "--kill", "--dry-run").out.startswith("would end the Packstack run")


def test_words_of_a_library_do_not_reach_the_terminal() -> None:
    script = """
import os, sys
from labkit.cli.app import main
os.environ["PATH"] = "/nonexistent"
sys.argv = ["labkit", "--version"]
try:
    main()
except SystemExit:
    import labkit.host.vagrant  # python-vagrant warns where there is no Vagrant
"""
    env = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
    ended = process.run([sys.executable, "-P", "-c", script], timeout=20, env=env)
    assert ended.stderr == ""

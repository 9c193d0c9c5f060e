"""Recorded texts: what they are taken for, and what is said of them."""

from __future__ import annotations

import json
import re

import pytest

from labkit.packstack.recorded import CERTAINTY, Kind, Recorded, kind_of, recorded
from tests.support.packstack import NAMES, TRANSCRIPTS, transcript

STAMP = "2018-07-03 02:33:00::{}::run_setup::1060::root:: "


def texts(name: str) -> dict[str, str]:
    """Return a transcript's files, as somebody would hand them over."""
    paths = sorted((TRANSCRIPTS / name).glob("*.log"))
    return {str(path): path.read_bytes().decode() for path in paths}


def ids(found: Recorded) -> list[str]:
    return [one.known.failure.id for one in found.findings]


def as_setup_log(error: str) -> str:
    """Return an error as openstack-setup.log of stable/queens has it."""
    trace = f'Traceback (most recent call last):\n  File "x.py", line 1, in main\n{error}\n'
    return f"{STAMP.format('INFO')}Installing:\n{STAMP.format('ERROR')}{trace}"


@pytest.mark.parametrize("name", NAMES)
def test_transcript_is_explained_like_the_run_it_is_of(name: str) -> None:
    found = recorded(texts(name))
    expected = transcript(name).expected
    assert ids(found) == expected["failures"]
    assert found.failed == (expected["outcome"] == "failed")
    assert bool(found.broken_off) == (expected["outcome"] == "running")
    assert bool(found.lines) == found.failed
    json.dumps(found.as_json())


def test_failure_is_understood_unless_nobody_has_put_it_down() -> None:
    unknown = {name for name in NAMES if not recorded(texts(name)).understood}
    assert unknown == {"unknown-in-compute", "unknown-script"}


def test_unknown_failure_is_shown_with_its_lines_and_the_log_to_look_into() -> None:
    whole = texts("unknown-in-compute")
    found = recorded({name: text for name, text in whole.items() if "puppet" not in name})
    assert not found.understood
    assert any("nobody has seen this" in line for line in found.lines)
    assert re.fullmatch(r"/\S+/manifests/172\.16\.208\.142_compute\.pp\.log", found.trace)
    assert recorded(whole).trace == ""


def test_lines_of_an_error_that_both_texts_have_are_shown_once() -> None:
    lines = recorded(texts("keystone-auth")).lines
    assert sum("Could not prefetch" in line for line in lines) == 1


def test_log_of_puppet_is_of_the_host_in_its_name() -> None:
    text = "Error: Could not prefetch x provider 'openstack': Could not authenticate\n"
    (found,) = recorded({"logs/192.0.2.7_controller.pp.log": text}).findings
    assert (found.known.failure.id, found.host) == ("keystone-auth", "192.0.2.7")


def test_two_logs_of_one_host_are_both_read() -> None:
    texts = {
        "a/192.0.2.7_controller.pp.log": "Error: x: Could not authenticate\n",
        "a/192.0.2.7_network.pp.log": "Error: write error: No space left on device\n",
        "b/192.0.2.7_network.pp.log": "Error: Cannot allocate memory\n",
    }
    found = recorded(texts)
    assert set(ids(found)) == {"keystone-auth", "no-space", "oom"}
    assert {one.host for one in found.findings} == {"192.0.2.7"}


def test_full_disk_names_the_node_in_its_remedy() -> None:
    text = "Error: write error: No space left on device\n"
    (found,) = recorded({"192.0.2.7_compute.pp.log": text}).findings
    assert "'labkit ssh 192.0.2.7 df -h'" in found.remedy
    assert found.certainty == CERTAINTY[3]


@pytest.mark.parametrize(
    ("error", "known"),
    [
        ("PuppetError: Error appeared during Puppet run: 192.0.2.7_network.pp\nError: x", "puppet"),
        ("ScriptRuntimeError: Couldn't detect ipaddress of interface enp0s8 on node 192.0.2.7", "tunnel-if"),
        ("ScriptRuntimeError: Failed to run remote script, stdout: \nstderr: Permission denied (publickey).", "ssh-permission"),
    ],
)  # fmt: skip
def test_setup_log_is_read_as_what_packstack_would_have_printed(error: str, known: str) -> None:
    text = as_setup_log(error)
    assert kind_of(text) is Kind.SETUP_LOG
    found = recorded({"openstack-setup.log": text})
    assert found.failed
    assert ids(found) == [known]


@pytest.mark.parametrize("text", ["", "\n\n", "hello\n", "\x00\x1b[31m\xff" * 50, "Error" * 9000])
def test_text_of_something_else_shows_no_failure(text: str) -> None:
    found = recorded({"x": text})
    assert (found.failed, found.findings, found.broken_off) == (False, (), "")
    assert found.understood


def test_no_control_character_of_a_recorded_text_reaches_the_terminal() -> None:
    found = recorded({"x.log": "Error: a\x07\x1b]0;title\x07b\x08\x9bm\x1b[31mred\n"})
    assert found.failed
    assert all(line.isprintable() for line in found.lines)


def test_password_in_a_recorded_text_is_not_shown() -> None:
    text = "Error: mysql failed: access\nCONFIG_MARIADB_PW=hunter2hunter2\n"
    found = recorded({"1.2.3.4_controller.pp.log": text})
    assert found.failed
    assert "hunter2" not in json.dumps(found.as_json())

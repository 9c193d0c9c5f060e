"""Hosts that fail, under Packstack 12.0.2 itself: labkit names what Packstack then prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.packstack.output.view import PrintedStatus, view_of
from labkit.packstack.recorded import recorded
from tests.support.real_packstack import NEEDS_LIB2TO3, packstack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.real_packstack import Outcome

pytestmark = [pytest.mark.integration, NEEDS_LIB2TO3]

MULTINODE = """\
[general]
CONFIG_PROVISION_DEMO=n
CONFIG_CONTROLLER_HOST=192.0.2.1
CONFIG_NETWORK_HOSTS=192.0.2.1
CONFIG_COMPUTE_HOSTS=192.0.2.2
"""
# A host does itself what it is told over SSH: a fake of it that takes the script's first lines.
SSH = 'for last; do :; done; [[ $last != "bash -x" ]] || exec bash -x; exec true'
PUPPET_LOG = (
    'for file; do :; done\nprintf "\\e[1;31m%s\\e[0m\\n" "Notice: fine" "{error}" >"$file"'
)

# Host, the tools of it that fail, the step in which Packstack notices, what labkit calls it.
FAILURES = [
    pytest.param(
        {"ssh": "cat >/dev/null; echo 'Permission denied (publickey).' >&2; exit 255"},
        "Setting up ssh keys",
        "ssh-permission",
        id="no-key",
    ),
    pytest.param(
        {
            "ssh": "cat >/dev/null; echo 'ssh: connect to host 192.0.2.2 port 22: "
            "No route to host' >&2; exit 255"
        },
        "Setting up ssh keys",
        "host-unreachable",
        id="no-route",
    ),
    pytest.param(
        {
            "ssh": SSH,
            "rpm": "exit 1",
            "yum": "echo 'Could not retrieve mirrorlist http://mirrorlist.centos.org/?release=7 "
            "error was' >&2; echo '14: curl#6 - \"Could not resolve host: mirrorlist.centos.org; "
            "Unknown error\"' >&2; exit 1",
        },
        "Preparing servers",
        "mirrorlist",
        id="dead-mirrors",
    ),
    pytest.param(
        {
            "ssh": SSH,
            "rpm": "exit 1",
            "yum": "echo 'http://vault.example/x/repomd.xml: [Errno 14] HTTP Error 503 - Service "
            "Unavailable' >&2; echo 'failure: repodata/repomd.xml from labkit-base: [Errno 256] "
            "No more mirrors to try.' >&2; exit 1",
        },
        "Preparing servers",
        "repository",
        id="repository-answers-503",
    ),
    pytest.param(
        {
            "ssh": SSH,
            "mkdir": "exit 0",
            "facter": "echo 'facter: error while loading shared libraries: "
            "leatherman_curl.so.1.3.0: cannot open shared object file' >&2; exit 127",
        },
        "Pre installing Puppet and discovering hosts' details",
        "leatherman",
        id="facter-without-leatherman",
    ),
    pytest.param(
        {
            "ssh": '[[ "$*" != *" tar -C "* ]] || { echo "tar: modules/nova: Cannot mkdir: '
            'No space left on device" >&2; exit 2; }'
        },
        "Copying Puppet modules and manifests",
        "no-space",
        id="full-disk",
    ),
]


def run(home: Path, host: Mapping[str, str], *, more: str = "") -> Outcome:
    file = home / "answers.cfg"
    file.write_text(MULTINODE + more, encoding="utf-8")
    return packstack(home, f"--answer-file={file}", host=host)


def named(outcome: Outcome) -> list[str]:
    assert outcome.returncode == 1, outcome.output
    found = recorded({"output": outcome.output})
    assert found.failed
    assert found.lines
    return [one.known.failure.id for one in found.findings]


@pytest.mark.parametrize(("host", "step", "failure"), FAILURES)
def test_failing_host_is_named_from_packstacks_own_words(
    tmp_path: Path, host: Mapping[str, str], step: str, failure: str
) -> None:
    outcome = run(tmp_path, host)
    view = view_of(outcome.output.encode())
    assert view.status is PrintedStatus.FAILED
    assert view.steps[-1].title == step, outcome.output
    assert named(outcome)[0] == failure, outcome.output


def test_line_that_tells_the_cause_is_shown_without_the_scripts_trace(tmp_path: Path) -> None:
    host = {"ssh": "cat >/dev/null; echo '+ trap t ERR' >&2; echo 'sudden end' >&2; exit 3"}
    found = recorded({"output": run(tmp_path, host).output})
    assert any("sudden end" in line for line in found.lines), found.lines
    assert not [line for line in found.lines if line.startswith("+")]


def test_tunnel_card_without_subnets_is_named_from_packstacks_own_words(tmp_path: Path) -> None:
    outcome = run(tmp_path, {}, more="CONFIG_NEUTRON_OVS_TUNNEL_IF=enp0s8\n")
    assert view_of(outcome.output.encode()).steps[-1].title == "Preparing Neutron API entries"
    assert named(outcome) == ["tunnel-if"]


# An error in Puppet's log, which Packstack fetches and repeats the first line of.
ERRORS = [
    ("Execution of '/usr/bin/yum -d 0 -e 0 -y install openstack-nova-api' returned 1: Error: Nothing to do", "missing-package"),
    ("Systemd start for rabbitmq-server failed!", "rabbitmq-host"),
    ("Could not prefetch keystone_role provider 'openstack': Could not authenticate", "keystone-auth"),
    ("/usr/sbin/ntpdate 192.0.2.123 returned 1 instead of one of [0]", "ntp"),
    ("Could not find data item CONFIG_USE_SUBNETS in any Hiera data file", "hiera"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "failure"), ERRORS, ids=[name for _, name in ERRORS])
def test_error_of_puppet_is_named_from_what_packstack_repeats(
    tmp_path: Path, error: str, failure: str
) -> None:
    outcome = run(tmp_path, {"scp": PUPPET_LOG.format(error=f"Error: {error}")})
    view = view_of(outcome.output.encode())
    assert [(one.manifest, one.ok) for one in view.manifests] == [
        ("192.0.2.1_controller.pp", False)
    ]
    assert named(outcome)[0] == failure, outcome.output

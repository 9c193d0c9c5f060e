"""The document's lab on stand-in guests, from `up` to `destroy`; one boot serves every check.

The tests run in the order they are written: the last ones stop the lab and remove it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import environment, run
from tests.support.driver import (
    POOL_PATH,
    QUICK_SECONDS,
    ROOT,
    UP_SECONDS,
    Inventory,
    Lab,
    inventory,
    virsh,
)
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(UP_SECONDS)]

NODES = {
    "controller": (4, 8192, {"enp0s3": "172.16.208.39", "enp0s8": "172.16.208.138"}),
    "compute": (2, 4096, {"enp0s3": "172.16.208.141", "enp0s8": "172.16.208.150"}),
}
SLOTS = {"enp0s3": "0000:00:03.0", "enp0s8": "0000:00:08.0"}
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@pytest.fixture(scope="module")
def before() -> Inventory:
    return inventory()


@pytest.fixture(scope="module")
def lab(before: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    assert not before.domains
    file = tmp_path_factory.mktemp("document") / "lab.yaml"
    file.write_bytes((ROOT / "lab.yaml").read_bytes())
    found = Lab(file=file, name="packstack")
    found.up("--box", "rehearsal")
    yield found
    found.run("destroy")


def files_under(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_status_of_the_document_lab_shows_its_hardware_and_addresses(lab: Lab) -> None:
    nodes = lab.status()

    assert [node["name"] for node in nodes] == list(NODES)
    for node in nodes:
        cpus, memory, addresses = NODES[node["name"]]
        assert (node["state"], node["vcpus"], node["memory_mib"]) == ("running", cpus, memory)
        assert node["ssh"] == f"vagrant@{addresses['enp0s3']}"
        assert [nic["name"] for nic in node["nics"]] == list(addresses)
        for nic in node["nics"]:
            assert nic["pci"] == SLOTS[nic["name"]]
            assert nic["seen_in_guest"], f"the guest agent of {node['name']} was not asked"
            assert f"{addresses[nic['name']]}/24" in nic["addresses"]
            assert nic["mac"].startswith("52:54:00:")
            assert nic["bridge"]


def test_status_table_fits_80_columns(lab: Lab) -> None:
    table = lab.run("status").stdout
    assert max(map(len, table.splitlines())) <= 80
    for _, _, addresses in NODES.values():
        assert all(address in table for address in addresses.values())


def test_domain_xml_has_exactly_two_cards_and_no_graphics(lab: Lab) -> None:
    for name in NODES:
        xml = virsh("dumpxml", f"{lab.name}_{name}")
        assert xml.count("<interface type='bridge'>") == xml.count("<interface ") == 2
        assert "<graphics" not in xml
        assert "machine='pc-q35" in xml


@pytest.mark.parametrize("node", list(NODES))
def test_guest_files_are_those_that_render_writes(lab: Lab, node: str, tmp_path: Path) -> None:
    lab.run("render", str(tmp_path / "rendered"), "--box", "rehearsal")
    rendered = files_under(tmp_path / "rendered" / node)
    manifest = rendered.pop("manifest").decode()
    assert {f"etc/sysconfig/network-scripts/ifcfg-{nic}" for nic in SLOTS} < set(rendered)
    assert "etc/hostname" in manifest
    archive = tmp_path / "files.tar"
    names = " ".join(shlex.quote(name) for name in rendered)
    encoded = lab.run("ssh", node, f"sudo tar -C / -ch {names} | base64 -w 0").stdout
    import base64  # noqa: PLC0415 -- beside its only use

    archive.write_bytes(base64.b64decode(encoded))
    with tarfile.open(archive) as opened:
        seen = {
            member.name: content.read()
            for member in opened
            if (content := opened.extractfile(member)) is not None
        }

    assert seen == rendered


@pytest.mark.parametrize("node", list(NODES))
def test_guest_runs_with_its_names_addresses_and_kernel_settings(lab: Lab, node: str) -> None:
    addresses = NODES[node][2]
    script = (
        "hostname -f; for key in rp_filter arp_ignore arp_announce; do "
        "cat /proc/sys/net/ipv4/conf/all/$key; done; ip -o -4 addr show scope global | "
        "awk '{print $2, $4}' | sort; nproc; ip -4 route show default"
    )
    lines = lab.run("ssh", node, script).stdout.splitlines()

    assert lines[:4] == [f"{node}.packstack.test", "2", "1", "2"]
    assert lines[4:6] == [f"{nic} {address}/24" for nic, address in addresses.items()]
    assert lines[6] == str(NODES[node][0])
    assert any("via 172.16.208.254" in line for line in lines[7:])


def test_guest_keys_are_private_and_the_seed_is_not_left_mounted(lab: Lab) -> None:
    host_key = (lab.directory / "keys" / "compute_host_ed25519.pub").read_text().split()[:2]
    script = (
        "stat -c '%a %U' /etc/ssh/ssh_host_ed25519_key ~/.ssh/authorized_keys ~/.ssh; "
        "cat /etc/ssh/ssh_host_ed25519_key.pub ~/.ssh/authorized_keys; "
        "findmnt -rn -o LABEL,FSTYPE"
    )
    lines = lab.run("ssh", "compute", script).stdout.splitlines()

    assert lines[:3] == ["600 root", "600 vagrant", "700 vagrant"]
    assert lines[3].split()[:2] == host_key
    assert lines[4] == (lab.directory / "keys" / "id_rsa.pub").read_text().strip()
    assert not [line for line in lines[5:] if "LABKIT" in line or "iso9660" in line]


def test_root_of_the_controller_alone_reaches_every_node(lab: Lab) -> None:
    options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    for node, (_cpus, _memory, addresses) in NODES.items():
        there = f"root@{next(iter(addresses.values()))}"
        command = f"sudo ssh -n -o LogLevel=ERROR {options} {there} hostname -s"
        assert lab.run("ssh", "controller", command).stdout == f"{node}\n"
        assert lab.run("ssh", "compute", command, code=255).stdout == ""
    modes = lab.run("ssh", "compute", "sudo sh -c 'stat -c \"%a %U %n\" /root/.ssh/*'").stdout
    assert modes.splitlines()[0] == "600 root /root/.ssh/authorized_keys"
    assert "id_rsa" not in modes


def test_ssh_rsync_and_ansible_work_with_the_files_that_labkit_prints(
    lab: Lab, tmp_path: Path
) -> None:
    config, hosts = tmp_path / "lab.ssh", tmp_path / "inventory.yaml"
    config.write_text(lab.run("ssh-config").stdout, encoding="utf-8")
    hosts.write_text(lab.run("inventory").stdout, encoding="utf-8")
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = environment(PATH=programs, ANSIBLE_HOME=str(tmp_path / "ansible"))

    asked = run(["ssh", "-F", config, "compute", "hostname"], timeout=60)
    run(["rsync", "-e", f"ssh -F {shlex.quote(str(config))}", hosts, "compute:copied"], timeout=60)
    pinged = run(["ansible", "-i", hosts, "-m", "ping", "all"], timeout=UP_SECONDS, env=env)

    assert asked.stdout == "compute.packstack.test\n"
    assert lab.run("ssh", "compute", "cat copied").stdout == hosts.read_text(encoding="utf-8")
    assert sorted(re.findall(r"^(\w+) \| SUCCESS", pinged.stdout, re.MULTILINE)) == sorted(NODES)


def test_ssh_with_several_words_passes_them_and_the_exit_code_unchanged(lab: Lab) -> None:
    words = ["a  b", "$HOME", "it's", "*", "--help", 'q"q']
    script = 'printf "%s\\n" "$@"; exit 7'
    seen = lab.run("ssh", "compute", "sh", "-c", script, "sh", *words, code=7).stdout
    assert seen.splitlines() == words


def test_ssh_with_one_word_runs_it_as_a_shell_line(lab: Lab) -> None:
    assert lab.run("ssh", "compute", "echo $HOME | tr a-z A-Z").stdout == "/HOME/VAGRANT\n"


def test_console_shows_the_boot(lab: Lab) -> None:
    for name in NODES:
        text = lab.run("console", name).stdout
        assert "login:" in text, text


def test_console_log_is_not_for_root_alone(lab: Lab) -> None:
    log = lab.directory / "logs" / "compute.console.log"
    assert log.stat().st_mode & 0o777 == 0o644


def test_console_is_entered_from_a_terminal_and_left_by_its_escape(lab: Lab) -> None:
    with Terminal() as terminal, lab.at(terminal, "console", "compute") as child:
        place = terminal.until(b"Ctrl-] (^]) leaves it")
        terminal.until_raw()
        terminal.type(b"\x15\rsomebody\r")
        terminal.until(b"Password: ", since=terminal.until(b"somebody", since=place))

        second = lab.run("console", "--log", "compute")
        assert "somebody" in second.stdout
        with Terminal() as other, lab.at(other, "console", "compute") as refused:
            assert refused.wait(QUICK_SECONDS) == 4
            assert b"Somebody else is at the console of the node 'compute'." in other.look()

        terminal.type(b"\x1d")
        assert child.wait(QUICK_SECONDS) == 0
        assert terminal.is_as_before()


def test_console_login_gets_into_a_node_whose_network_is_dead(lab: Lab) -> None:
    compute = next(node for node in lab.status() if node["name"] == "compute")
    macs = [nic["mac"] for nic in compute["nics"]]
    for mac in macs:
        virsh("domif-setlink", "packstack_compute", mac, "down")
    with Terminal() as terminal, lab.at(terminal, "console", "--login", "compute") as child:
        # The test before left the getty waiting for a password.
        place = terminal.until(b"vagrant@compute")
        terminal.type(b"sudo id -un; exit\r")
        place = terminal.until(b"root", since=terminal.until(b"id -un", since=place))
        terminal.until(b"login: ", since=place)
        terminal.type(b"\x1d")
        assert child.wait(QUICK_SECONDS) == 0
        assert terminal.is_as_before()
    for mac in macs:
        virsh("domif-setlink", "packstack_compute", mac, "up")
    shadow = lab.run("ssh", "compute", "sudo grep ^vagrant: /etc/shadow").stdout
    assert shadow.startswith("vagrant:*:")


def test_second_up_changes_nothing_and_is_quick(lab: Lab) -> None:
    state = (lab.directory / "state.json").read_bytes()
    first = lab.boot_ids()

    # The shortest of three: other work on the host is no fault of labkit's.
    again = min((lab.up("--json") for _ in range(3)), key=lambda result: result.seconds)

    report = json.loads(again.stdout)
    assert report["changed"] is False
    assert {node["name"]: node["boot_id"] for node in report["nodes"]} == first
    assert {node["action"] for node in report["nodes"]} == {"keep"}
    assert again.seconds < 3, f"a second up took {again.seconds:.1f} s"
    assert (lab.directory / "state.json").read_bytes() == state


def test_private_keys_are_in_no_log_and_no_rendered_file(lab: Lab) -> None:
    # Vagrant puts the key that it ships, and that everybody knows, into each of its homes.
    known = ("vagrant/home/insecure_private_key",)
    exposed = [
        name
        for name, content in files_under(lab.directory).items()
        if PRIVATE_KEY.search(content) and not name.startswith(("keys/", "seeds/", *known))
    ]
    assert exposed == []
    # The search finds what it looks for where it has to be.
    assert PRIVATE_KEY.search((lab.directory / "keys" / "id_rsa").read_bytes())


def test_private_files_are_for_their_owner_alone(lab: Lab) -> None:
    keys = [path for path in (lab.directory / "keys").iterdir() if path.suffix != ".pub"]
    images = [*POOL_PATH.glob(f"{lab.name}_*_seed.iso"), *(lab.directory / "seeds").glob("*.iso")]
    assert len(images) == 4
    # known_hosts holds public keys only.
    private = [path for path in keys if path.name != "known_hosts"] + images
    assert {path: oct(path.stat().st_mode & 0o777) for path in private} == dict.fromkeys(
        private, "0o600"
    )


def test_changed_name_server_is_announced_for_the_next_boot(lab: Lab) -> None:
    text = lab.file.read_text()
    lab.file.write_text(text.replace("8.8.8.8", "9.9.9.9"))
    try:
        result = lab.up()
    finally:
        lab.file.write_text(text)
    assert "its files changed in lab.yaml" in result.stderr
    assert "labkit halt" in result.stderr


def test_changed_cpus_on_a_running_lab_are_refused_by_name(lab: Lab) -> None:
    text = lab.file.read_text()
    lab.file.write_text(text.replace("cpus: 2", "cpus: 3"))
    try:
        result = lab.up(code=4)
    finally:
        lab.file.write_text(text)
    assert "node 'compute'" in result.stderr
    assert "node 'controller'" not in result.stderr
    assert "labkit recreate compute" in result.stderr


def test_recreated_node_has_what_the_lab_file_says_and_the_other_stays(lab: Lab) -> None:
    first = lab.boot_ids()
    lab.run("ssh", "compute", "touch here")
    key = lab.run("ssh", "compute", "cat /etc/ssh/ssh_host_ed25519_key.pub").stdout
    text = lab.file.read_text()
    lab.file.write_text(text.replace("cpus: 2", "cpus: 1"))
    try:
        result = lab.run("recreate", "compute", timeout=UP_SECONDS)
        assert lab.run("ssh", "compute", "nproc; ls").stdout == "1\n", lab.story(result)
    finally:
        lab.file.write_text(text)
        lab.run("recreate", "compute", timeout=UP_SECONDS)
    second = lab.boot_ids()
    assert first["controller"] == second["controller"]
    assert first["compute"] != second["compute"]
    assert lab.run("ssh", "compute", "nproc").stdout == "2\n"
    assert lab.run("ssh", "compute", "cat /etc/ssh/ssh_host_ed25519_key.pub").stdout == key


def test_restarted_node_boots_and_the_other_runs_on(lab: Lab) -> None:
    first = lab.boot_ids()
    lab.run("restart", "compute", timeout=UP_SECONDS)
    second = lab.boot_ids()
    assert first["controller"] == second["controller"]
    assert first["compute"] != second["compute"]


def test_halted_lab_comes_up_again_with_the_same_keys(lab: Lab) -> None:
    first = lab.boot_ids()
    key = lab.run("ssh", "compute", "cat /etc/ssh/ssh_host_ed25519_key.pub").stdout

    halted = lab.run("halt", timeout=UP_SECONDS)
    assert halted.stdout.count("shut down") == 2, halted.stdout
    assert [node["state"] for node in lab.status()] == ["shutoff", "shutoff"]
    again = lab.run("halt")
    assert again.stdout.count("was off") == 2
    result = lab.up()

    assert result.stderr.count("(unchanged)") == 2, lab.story(result)
    second = lab.boot_ids()
    assert all(first[name] != second[name] for name in NODES)
    assert lab.run("ssh", "compute", "cat /etc/ssh/ssh_host_ed25519_key.pub").stdout == key


def test_destroy_leaves_nothing(lab: Lab, before: Inventory) -> None:
    dry = lab.run("destroy", "--dry-run")
    assert dry.stdout.count("would remove") == 7, dry.stdout
    assert inventory().domains == {"packstack_controller", "packstack_compute"}

    lab.run("destroy")

    assert inventory() == before
    assert "nothing of the lab 'packstack' exists" in lab.run("destroy").stdout
    assert inventory() == before

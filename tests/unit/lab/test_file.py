from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from labkit.errors import LabFileError
from labkit.lab import yaml
from labkit.lab.file import check, json_schema, load
from labkit.lab.types import NAME_PATTERN
from tests.support.examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

LAB = """\
name: demo
box: rehearsal
dns: {servers: [192.0.2.53], domain: demo.test}
networks:
  lan: {mode: nat, cidr: 10.0.0.0/24, gateway: 10.0.0.1}
nodes:
  one:
    roles: [controller]
    cpus: 1
    memory: 512 MiB
    nics:
      enp0s3: {network: lan, address: 10.0.0.3}
"""
ADDRESS = "an IPv4 address without a prefix length, such as '172.16.208.39'"
NAME = "a name: lower-case letters, digits and '-', a letter first, at most 30 characters"
HOST = NAME.replace("a name", "a host name")
SIZE = "a size in MiB or GiB"
NIC = "nodes.one.nics.enp0s3"
CARD = "enp0s3: {network: lan, address: 10.0.0.3"
HINT = "Correct each line as it says; 'labkit validate' reads the file again."


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def failure(text: str | bytes, name: str = "lab.yaml") -> LabFileError:
    path = Path(name)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(LabFileError) as caught:
        load(path)
    return caught.value


def replaced(old: str, new: str) -> str:
    assert LAB.count(old) == 1, old
    return LAB.replace(old, new)


@pytest.mark.parametrize("name", EXAMPLES)
def test_load_example_lab_has_no_problem(name: str) -> None:
    assert load(EXAMPLES[name]).nodes


def test_load_small_lab_fills_in_the_defaults() -> None:
    Path("lab.yaml").write_text(LAB, encoding="utf-8")
    node = load(Path("lab.yaml")).nodes["one"]
    assert (node.cpus, node.memory, node.disk) == (1, 512, 60)
    assert node.nics["enp0s3"].gateway is True


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        # A value by itself.
        ("name: demo", "name: Demo", f"1:7: name: expected {NAME}, found 'Demo'"),
        ("name: demo", "name: 7", f"1:7: name: expected {NAME}, found '7'"),
        ("name: demo", "name: " + "a" * 31, f"1:7: name: expected {NAME}, found '{'a' * 31}'"),
        (
            "servers: [192.0.2.53]",
            "servers: 192.0.2.53",
            "3:16: dns.servers: expected a list ('[a, b]'), found '192.0.2.53'",
        ),
        ("[192.0.2.53]", "[fe80::1]", f"3:17: dns.servers.0: expected {ADDRESS}, found 'fe80::1'"),
        (
            "[192.0.2.53]",
            "[1.0.0.1, 1.0.0.2, 1.0.0.3, 1.0.0.4]",
            "3:16: dns.servers: expected at most 3 entries, found 4",
        ),
        (
            "domain: demo.test",
            "domain: -x",
            "3:38: dns.domain: expected a domain name in lower case, such as 'packstack.test', found '-x'",
        ),
        (
            "mode: nat",
            "mode: Nat",
            "5:15: networks.lan.mode: expected 'nat', 'bridge' or 'isolated', found 'Nat'",
        ),
        (
            "cidr: 10.0.0.0/24",
            "cidr: 10.0.0.7/24",
            "5:26: networks.lan.cidr: expected an IPv4 network such as '10.0.0.0/24', found '10.0.0.7/24'",
        ),
        (
            "cidr: 10.0.0.0/24",
            "cidr: 10.0.0.0",
            "5:26: networks.lan.cidr: expected an IPv4 network such as '172.16.208.0/24', found '10.0.0.0'",
        ),
        (
            "cidr: 10.0.0.0/24",
            "cidr: 10.0.0.0/31",
            "5:26: networks.lan.cidr: expected a prefix length from /8 to /30, found '10.0.0.0/31'",
        ),
        (
            "cidr: 10.0.0.0/24",
            "cidr: 127.0.0.0/8",
            "5:26: networks.lan.cidr: expected a network whose addresses can be given to machines, found '127.0.0.0/8'",
        ),
        (
            "roles: [controller]",
            "roles: []",
            "8:12: nodes.one.roles: expected at least one entry, found none",
        ),
        (
            "roles: [controller]",
            "roles: [controller, storage]",
            "8:25: nodes.one.roles.1: expected 'controller', 'network' or 'compute', found 'storage'",
        ),
        (
            "cpus: 1",
            'cpus: "1"',
            "9:11: nodes.one.cpus: expected a whole number from 1 to 64, found the text '1'",
        ),
        (
            "cpus: 1",
            "cpus: 1.5",
            "9:11: nodes.one.cpus: expected a whole number from 1 to 64, found '1.5'",
        ),
        (
            "cpus: 1",
            "cpus: 65",
            "9:11: nodes.one.cpus: expected a whole number from 1 to 64, found '65'",
        ),
        (
            "cpus: 1",
            "cpus: true",
            "9:11: nodes.one.cpus: expected a whole number from 1 to 64, found 'true'",
        ),
        (
            "512 MiB",
            "8",
            f"10:13: nodes.one.memory: expected {SIZE} (a bare number does not say which), such as '8 GiB', found '8'",
        ),
        (
            "512 MiB",
            "8 GB",
            f"10:13: nodes.one.memory: expected {SIZE} ('GB' is not one), such as '8 GiB', found '8 GB'",
        ),
        (
            "512 MiB",
            "much",
            "10:13: nodes.one.memory: expected a whole number with its unit, such as '8 GiB', found 'much'",
        ),
        (
            "512 MiB",
            "1 MiB",
            "10:13: nodes.one.memory: expected 256 MiB to 1024 GiB, found '1 MiB'",
        ),
        *(
            (
                "box: rehearsal",
                f"box: rehearsal\npool: {wrong}",
                f"3:7: pool: expected a storage pool's name as 'virsh pool-list --all' has it, found '{wrong}'",
            )
            for wrong in ("/var/lib/images", "a b", "-x", "é", "7.0.0/x")
        ),
        (
            "    nics:",
            "    disk: 5000 MiB\n    nics:",
            "11:11: nodes.one.disk: expected whole GiB, from 4 GiB to 16384 GiB, found '5000 MiB'",
        ),
        *(
            (
                "name: demo",
                f"name: demo\nexpires: {wrong}",
                f"2:10: expires: expected a time such as '90m', '12h', '3d' or '1h30m', or the key left out for never, found {found}",
            )
            for wrong, found in (
                ("12", "'12'"),
                ("0h", "'0h'"),
                ("1w", "'1w'"),
                ("30m1h", "'30m1h'"),
                ("1h 30m", "'1h 30m'"),
                ("1h1h", "'1h1h'"),
                ("-1h", "'-1h'"),
                ("10000d", "'10000d'"),
                ("2026-12-01", "'2026-12-01'"),
            )
        ),
        (
            "address: 10.0.0.3",
            "address: 10.0.0.3/24",
            f"12:39: {NIC}.address: expected {ADDRESS}, found '10.0.0.3/24'",
        ),
        (
            CARD,
            CARD + ", mac: 01:54:00:00:00:01",
            f"12:54: {NIC}.mac: expected a MAC address for one card, such as '52:54:00:12:34:56', found '01:54:00:00:00:01'",
        ),
        (
            CARD,
            CARD + ", gateway: 10.0.0.1",
            f"12:58: {NIC}.gateway: expected true or false, found '10.0.0.1'",
        ),
        (
            CARD,
            CARD + ", ifcfg: {uuid: x}",
            f"12:57: {NIC}.ifcfg.uuid: expected an ifcfg key in capitals, such as 'UUID', found 'uuid'",
        ),
        (
            CARD,
            CARD + ", ifcfg: {PEERDNS: true}",
            f"12:66: {NIC}.ifcfg.PEERDNS: expected text; for a switch write yes or no, for the word itself put quotes around it, found 'true'",
        ),
        (
            CARD,
            CARD + ', ifcfg: {A: "a\\nb"}',
            f"12:60: {NIC}.ifcfg.A: expected one line of printable text, found the text 'a\\nb'",
        ),
        # Keys.
        (
            "box: rehearsal",
            "boxx: rehearsal",
            "2:1: boxx: expected one of 'name', 'box', 'release', 'pool', 'dns', 'networks', 'nodes', 'deployment', 'repos', 'expires', found the unknown key 'boxx' (did you mean 'box'?)",
        ),
        (
            "    cpus: 1\n",
            "",
            "7:3: nodes.one.cpus: expected the key 'cpus', found no such key",
        ),
        (
            "box: rehearsal",
            "box: rehearsal\nzebra: 1",
            "3:1: zebra: expected one of 'name', 'box', 'release', 'pool', 'dns', 'networks', 'nodes', 'deployment', 'repos', 'expires', found the unknown key 'zebra'",
        ),
        (
            CARD,
            CARD + ", Addr: 1",
            f"12:49: {NIC}.Addr: expected one of 'network', 'address', 'mac', 'gateway', 'ifcfg', found the unknown key 'Addr' (did you mean 'address'?)",
        ),
        (
            "    cpus: 1",
            "    cpus: 1\n    cpus: 2",
            "10:5: nodes.one.cpus: expected each key once, found 'cpus' again (first on line 9)",
        ),
        (
            "box: rehearsal",
            "box:",
            "2:1: box: expected a value, or the key left out, found nothing",
        ),
        (
            "[192.0.2.53]",
            "[~]",
            "3:17: dns.servers.0: expected a value, found '~', which is nothing without quotes",
        ),
        (
            "box: rehearsal",
            "box: rehearsal\n? [a]\n: 1",
            "3:3: the file: expected a plain key, found a list",
        ),
        (
            "  one:\n",
            "  one: {}\n  two:\n",
            (
                "7:3: nodes.one.roles: expected the key 'roles', found no such key",
                "7:3: nodes.one.cpus: expected the key 'cpus', found no such key",
                "7:3: nodes.one.memory: expected the key 'memory', found no such key",
                "7:3: nodes.one.nics: expected the key 'nics', found no such key",
            ),
        ),
        (
            "  lan: {mode: nat, cidr: 10.0.0.0/24, gateway: 10.0.0.1}",
            "  lan: nat",
            "5:8: networks.lan: expected a mapping ('mode: nat, …'), found 'nat'",
        ),
        ("  one:", "  One:", f"7:3: nodes.One: expected {HOST}, found 'One'"),
        ("  one:", "  1:", f"7:3: nodes.1: expected {HOST}, found '1'"),
        # Several values together.
        (
            "  one:",
            "  localhost:",
            "7:3: nodes.localhost: expected a name of its own, found 'localhost'",
        ),
        (
            "domain: demo.test",
            "domain: " + "d" * 60,
            f"7:3: nodes.one: expected a name and 'dns.domain' of at most 63 characters together, found 'one.{'d' * 60}' with 64",
        ),
        (
            ", gateway: 10.0.0.1",
            "",
            "5:3: networks.lan: expected the key 'gateway', the host's address on a nat network, found no such key",
        ),
        (
            "gateway: 10.0.0.1}",
            "gateway: 10.0.1.1}",
            "5:48: networks.lan.gateway: expected an address inside network 'lan' (10.0.0.0/24), found '10.0.1.1'",
        ),
        (
            "gateway: 10.0.0.1}",
            "gateway: 10.0.0.255}",
            "5:48: networks.lan.gateway: expected an address inside network 'lan' (10.0.0.0/24), found its broadcast address '10.0.0.255'",
        ),
        (
            "mode: nat",
            "mode: bridge",
            "5:3: networks.lan: expected the key 'bridge', which mode bridge needs, found no such key",
        ),
        (
            "mode: nat",
            "mode: nat, bridge: br0",
            "5:28: networks.lan.bridge: expected no 'bridge' in mode nat, where labkit makes its own, found 'br0'",
        ),
        *(
            (
                "mode: nat",
                f"mode: bridge, bridge: {bridge}",
                f"5:31: networks.lan.bridge: expected a bridge Vagrant accepts (not lo, no name in docker, macvtap, virbr, vnet…), found '{bridge}'",
            )
            for bridge in ("lo", "docker0", "macvtap1", "virbr0", "vnet3")
        ),
        (
            "mode: nat",
            "mode: bridge, bridge: br-sixteen-chars",
            "5:31: networks.lan.bridge: expected a bridge's name of at most 15 characters, such as 'br0', found 'br-sixteen-chars'",
        ),
        (
            "nodes:",
            "  two: {mode: isolated, cidr: 10.0.0.128/25}\nnodes:",
            "6:31: networks.two.cidr: expected a range apart from network 'lan' (10.0.0.0/24), found '10.0.0.128/25'",
        ),
        (
            "nodes:",
            "  a: {mode: bridge, bridge: br0, cidr: 10.0.0.0/24}\n  b: {mode: bridge, bridge: br0, cidr: 10.0.0.0/24}\nnodes:",
            "7:29: networks.b.bridge: expected each bridge once, found 'br0' again, as in 'networks.a.bridge'",
        ),
        (
            "roles: [controller]",
            "roles: [compute]",
            "6:1: nodes: expected one node with the role controller, found none",
        ),
        (
            "roles: [controller]",
            "roles: [controller, controller]",
            "8:25: nodes.one.roles.1: expected each role once, found 'controller' again, as in 'nodes.one.roles.0'",
        ),
        (
            "nodes:",
            "nodes:\n  zero:\n    {roles: [controller], cpus: 1, memory: 1 GiB,\n     nics: {enp0s3: {network: lan, address: 10.0.0.4}}}",
            "11:12: nodes.one.roles: expected one controller, found a second one beside 'zero'",
        ),
        (
            "network: lan",
            "network: wan",
            f"12:25: {NIC}.network: expected the name of a network of this lab ('lan'), found 'wan'",
        ),
        (
            "address: 10.0.0.3",
            "address: 10.0.1.3",
            f"12:39: {NIC}.address: expected an address inside network 'lan' (10.0.0.0/24), found '10.0.1.3'",
        ),
        (
            "address: 10.0.0.3",
            "address: 10.0.0.0",
            f"12:39: {NIC}.address: expected an address inside network 'lan' (10.0.0.0/24), found its network address '10.0.0.0'",
        ),
        (
            "address: 10.0.0.3",
            "address: 10.0.0.1",
            f"12:39: {NIC}.address: expected an address of its own, found '10.0.0.1', the gateway of network 'lan'",
        ),
        (
            CARD,
            CARD + "}\n      enp0s4: {network: lan, address: 10.0.0.3",
            f"13:39: nodes.one.nics.enp0s4.address: expected each address once, found '10.0.0.3' again, as in '{NIC}.address'",
        ),
        (
            CARD,
            CARD + ", mac: 52:54:00:00:00:0A}\n"
            "      enp0s4: {network: lan, address: 10.0.0.4, mac: 52:54:00:00:00:0a",
            f"13:54: nodes.one.nics.enp0s4.mac: expected each MAC once, found '52:54:00:00:00:0a' again, as in '{NIC}.mac'",
        ),
        (
            CARD,
            CARD + "}\n      enp0s03: {network: lan, address: 10.0.0.4",
            (
                "13:7: nodes.one.nics.enp0s03: expected 'enp0s3', found 'enp0s03'",
                f"13:7: nodes.one.nics.enp0s03: expected each PCI slot of a node once, found '3' again, as in '{NIC}'",
            ),
        ),
        *(
            (
                "enp0s3:",
                f"enp0s{slot}:",
                f"12:7: nodes.one.nics.enp0s{slot}: expected a free PCI slot (slot {slot} belongs to {owner}), found 'enp0s{slot}'",
            )
            for slot, owner in (
                (1, "video and PCIe root ports"),
                (2, "PCIe root ports"),
                (29, "USB"),
                (31, "SATA and SMBus"),
            )
        ),
        *(
            (
                "enp0s3:",
                f"enp0s{slot}:",
                f"12:7: nodes.one.nics.enp0s{slot}: expected a PCI slot from 3 to 30, found 'enp0s{slot}'",
            )
            for slot in (0, 32, 999)
        ),
        (
            "enp0s3:",
            "ens3:",
            "12:7: nodes.one.nics.ens3: expected a card's name 'enp0s<slot>', such as 'enp0s3', found 'ens3'",
        ),
        *(
            (
                CARD,
                CARD + f", ifcfg: {{{key}: x}}",
                f"12:57: {NIC}.ifcfg.{key}: expected no '{key}' here (it is decided by {source}), found '{key}'",
            )
            for key, source in (
                ("DEVICE", "the card's own key"),
                ("IPADDR", "'address'"),
                ("IPADDR1", "'address'"),
                ("PREFIX0", "the network's 'cidr'"),
                ("HWADDR", "'mac'"),
                ("BOOTPROTO", "always static"),
            )
        ),
        *(
            (
                CARD,
                f"{CARD}, ifcfg: {{{key}: /tmp}}",
                f"12:57: {NIC}.ifcfg.{key}: expected no '{key}' here (the network scripts source the file, and it is a variable of {whose} own), found '{key}'",
            )
            for key, whose in (
                ("PATH", "their shell's"),
                ("IFS", "their shell's"),
                ("BASH_ENV", "their shell's"),
                ("LD_PRELOAD", "their shell's"),
                ("LC_ALL", "their shell's"),
                ("UID", "their shell's"),
                ("CONFIG", "their"),
                ("REALDEVICE", "their"),
            )
        ),
        (
            "  lan: {mode: nat, cidr: 10.0.0.0/24, gateway: 10.0.0.1}",
            "  lan: {mode: isolated, cidr: 10.0.0.0/24}",
            f"12:25: {NIC}.network: expected a network the host has an address on, for the card labkit connects to, found 'lan', which is isolated and has no gateway",
        ),
        # Nothing but YAML.
        (
            "box: rehearsal",
            "box: [a",
            "2:6: the file: expected valid YAML, found a bracket that is not closed, or a ',' too few",
        ),
        (
            "box: rehearsal",
            "box: a: b",
            "2:7: the file: expected valid YAML, found a ': ' where none can be: its key begins too far right, or its text needs quotes",
        ),
        (
            "box: rehearsal",
            "box: @b",
            "2:6: the file: expected valid YAML, found a text that begins with a sign of YAML's own and needs quotes",
        ),
        (
            "box: rehearsal",
            "\tbox: b",
            "2:1: the file: expected valid YAML, found a tab; blanks are what a line begins with",
        ),
        (
            "box: rehearsal",
            "box: \x00b",
            "2:6: the file: expected printable text, found the character U+0000",
        ),
        (
            "box: rehearsal",
            "box: !!python/name:os.system x",
            "2:6: the file: expected values without a tag, or quotes around a text with '!' in front, found a tag",
        ),
        (
            "roles: [controller]",
            "roles: &r [controller, *r]",
            (
                "8:12: the file: expected every value written out in its place, so that a message can name its line, or quotes around a text with '&' in front, found an anchor",
                "8:28: the file: expected every value written out in its place, so that a message can name its line, or quotes around a text with '*' in front, found an alias",
            ),
        ),
        *(
            (
                "cpus: 1\n",
                f"cpus: 1\n    <<: {merged}\n",
                "10:5: the file: expected every value written out in its place, so that a message can name its line, found a merge key ('<<')",
            )
            for merged in ("{disk: 60 GiB}", "*one")
        ),
        (
            "cpus: 1\n",
            "cpus: '1\n",
            "9:11: the file: expected valid YAML, found a quote that is never closed",
        ),
        (
            "cpus: 1\n",
            "cpus:1\n",
            "9:5: the file: expected valid YAML, found a line without a ':' and a blank after its key",
        ),
        (
            "cpus: 1\n",
            "cpus: 'a'b\n",
            "9:14: the file: expected valid YAML, found more text behind a closing quote, or a line that begins elsewhere than those beside it",
        ),
        (
            "    cpus: 1\n",
            "   cpus: 1\n",
            "9:4: the file: expected valid YAML, found a line that begins further left or right than those beside it",
        ),
        (LAB, "a: [", "1:5: the file: expected valid YAML, found a bracket that is never closed"),
        (LAB, "- name: demo\n", "1:1: the file: expected a mapping ('key: value'), found a list"),
        (
            LAB,
            "just text\n",
            "1:1: the file: expected a mapping ('key: value'), found 'just text'",
        ),
        (
            LAB,
            "a: 1\n---\nb: 2\n",
            "2:1: the file: expected valid YAML, found a second document; a lab file is one",
        ),
    ],
)  # fmt: skip -- one problem, one line
def test_load_wrong_lab_file_names_line_column_and_remedy(
    old: str, new: str, problem: str | tuple[str, ...]
) -> None:
    problems = (problem,) if isinstance(problem, str) else problem
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    assert failure(replaced(old, new)) == LabFileError(
        f"The lab file 'lab.yaml' has {count}.",
        details=tuple(f"lab.yaml:{line}" for line in problems),
        hint=HINT,
    )


@pytest.mark.parametrize(
    ("key", "size", "expected"),
    [
        ("memory", "8", f"{SIZE} (a bare number does not say which), such as '8 GiB'"),
        ("memory", "512", f"{SIZE} (a bare number does not say which), such as '512 MiB'"),
        ("memory", "8192", f"{SIZE} (a bare number does not say which), such as '8192 MiB'"),
        ("memory", "8192MB", f"{SIZE} ('MB' is not one), such as '8192 MiB'"),
        ("memory", "8GB", f"{SIZE} ('GB' is not one), such as '8 GiB'"),
        ("memory", "0.5 GiB", "a size in whole MiB or GiB, such as '512 MiB'"),
        ("memory", "0", f"{SIZE} (a bare number does not say which), such as '256 MiB'"),
        ("memory", "-1 GiB", "a whole number with its unit, such as '8 GiB'"),
        ("memory", "8gib", f"{SIZE} ('gib' is not one), such as '8 GiB'"),
        ("memory", "1T", f"{SIZE} ('T' is not one), such as '1024 GiB'"),
        ("memory", "8388608 KB", f"{SIZE} ('KB' is not one), such as '8192 MiB'"),
        ("memory", "8.5 GiB", "a size in whole MiB or GiB, such as '8704 MiB'"),
        ("memory", "8 Gigs", f"{SIZE} ('Gigs' is not one), such as '8 GiB'"),
        ("disk", "60", f"{SIZE} (a bare number does not say which), such as '60 GiB'"),
        ("disk", "61440", f"{SIZE} (a bare number does not say which), such as '60 GiB'"),
        ("disk", "60GB", f"{SIZE} ('GB' is not one), such as '60 GiB'"),
        ("disk", "0.5T", f"{SIZE} ('T' is not one), such as '512 GiB'"),
        ("disk", "60.5 GiB", "a size in whole GiB, such as '61 GiB'"),
        ("disk", "62000 MB", f"{SIZE} ('MB' is not one), such as '61 GiB'"),
        ("disk", "much", "a whole number with its unit, such as '60 GiB'"),
    ],
)
def test_case_23_size_in_another_unit_is_told_a_size_that_means_the_same(
    key: str, size: str, expected: str
) -> None:
    line = f"{key}: {size}"
    text = replaced("memory: 512 MiB", line if key == "memory" else f"memory: 512 MiB\n    {line}")
    [found] = failure(text).details
    assert found.endswith(f"nodes.one.{key}: expected {expected}, found '{size}'")
    example = expected.rsplit("'", 2)[1]
    Path("lab.yaml").write_text(text.replace(line, f"{key}: {example}"), encoding="utf-8")
    assert load(Path("lab.yaml")).nodes


@pytest.mark.parametrize(
    "box", ["centos/7", "generic/centos7", "CentOS7", "bento/centos-7.9", "7"]
)
def test_case_23_box_of_vagrants_catalogue_is_told_the_boxes_labkit_knows(box: str) -> None:
    [found] = failure(replaced("box: rehearsal", f"box: {box}")).details
    known = "'centos7', 'centos7-2009', 'rehearsal', 'rehearsal-puppet', 'rehearsal-untrimmed'"
    assert found == (
        f"lab.yaml:2:6: box: expected the name of a box labkit knows ({known}), found '{box}'"
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "roles: [controller]",
            "roles: [Controller]",
            "8:13: nodes.one.roles.0: expected 'controller', 'network' or 'compute', found 'Controller'",
        ),
        (
            "networks:",
            "network:",
            "4:1: network: expected one of 'name', 'box', 'release', 'pool', 'dns', 'networks', 'nodes', 'deployment', 'repos', 'expires', found the unknown key 'network' (did you mean 'networks'?)",
        ),
        (
            "    nics:\n      enp0s3: {",
            "    nics:\n      - {name: enp0s3, ",
            "12:7: nodes.one.nics: expected a mapping ('enp0s3: {network: lan, address: 172.16.208.39}'), found a list",
        ),
    ],
)  # fmt: skip -- one problem, one line
def test_case_23_slip_is_one_problem_in_the_words_of_a_lab_file(
    old: str, new: str, problem: str
) -> None:
    assert failure(replaced(old, new)).details == (f"lab.yaml:{problem}",)


@pytest.mark.parametrize("size", ["512 MiB", "512MiB", "512M", "512 M", "'512M'", "1G", "1 GiB"])
def test_size_in_powers_of_two_is_taken(size: str) -> None:
    Path("lab.yaml").write_text(replaced("512 MiB", size), encoding="utf-8")
    mib = 1024 if "G" in size else 512
    assert load(Path("lab.yaml")).nodes["one"].memory == mib
    pattern = json_schema()["$defs"]["Node"]["properties"]["memory"]["pattern"]
    assert re.fullmatch(pattern, size.strip("'"))


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("address: 10.0.0.3", "ip: 10.0.0.3", "address"),
        ("memory: 512 MiB", "ram: 512 MiB", "memory"),
        ("cpus: 1", "vcpus: 1", "cpus"),
        ("    nics:", "    interfaces:", "nics"),
        ("box: rehearsal", "image: rehearsal", "box"),
        ("nodes:\n", "hosts:\n", "nodes"),
    ],
)
def test_key_of_another_tool_is_the_one_problem_and_told_the_key_that_is_meant(
    old: str, new: str, meant: str
) -> None:
    [found] = failure(replaced(old, new)).details
    assert found.endswith(f"(did you mean '{meant}'?)")


@pytest.mark.parametrize("key", ["count", "replicas"])
def test_nodes_that_are_alike_are_refused_with_the_reason_and_the_command(key: str) -> None:
    [found] = failure(replaced("cpus: 1", f"{key}: 3\n    cpus: 1")).details
    assert "as each has a name and addresses of its own" in found
    assert "'labkit init --computes N'" in found


@pytest.mark.parametrize(
    ("old", "new", "example"),
    [
        ("[controller]", "controller", "('[controller]')"),
        ("[controller]", "Controller", "('[controller]')"),
        ("[controller]", "storage", "('[controller, network]')"),
        (
            LAB[LAB.index("dns:") : LAB.index("networks:")],
            "dns: demo.test\n",
            "('domain: packstack.test')",
        ),
        (
            LAB[LAB.index("networks:") : LAB.index("nodes:")],
            "networks: [lan]\n",
            "('lan: {mode: nat, …}')",
        ),
    ],
)  # fmt: skip -- one slip, one line
def test_value_of_another_shape_is_told_how_its_own_looks(
    old: str, new: str, example: str
) -> None:
    [found] = failure(replaced(old, new)).details
    assert example in found


def mtu(network: str, card: str) -> str:
    """Return a lab whose network and whose card have these MTUs, if any."""
    text = LAB.replace(
        "gateway: 10.0.0.1}", f"gateway: 10.0.0.1{network and f', mtu: {network}'}}}"
    )
    return text.replace(CARD, CARD + (card and f", ifcfg: {{MTU: {card}}}"))


@pytest.mark.parametrize(
    ("network", "card", "has"),
    [
        ("", "9000", "1500"),
        ("", "1400", "1500"),
        ("9000", "1500", "9000"),
        ("9000", "8950", "9000"),
        ("1400", "'01400'", "1400"),
    ],
)
def test_case_14_mtu_of_a_card_that_differs_from_its_networks_is_refused_with_the_reason(
    network: str, card: str, has: str
) -> None:
    [found] = failure(mtu(network, card)).details
    shown = card.strip("'")
    assert found == (
        f"lab.yaml:12:62: {NIC}.ifcfg.MTU: expected the key 'mtu' of network 'lan' instead (it has "
        f"{has}; where bridge and cards differ, large packets are lost without a word), "
        f"found '{shown}'"
    )


@pytest.mark.parametrize(
    ("network", "card"), [("", "1500"), ("9000", "9000"), ("9000", ""), ("68", ""), ("65535", "")]
)
def test_case_14_mtu_that_agrees_is_accepted(network: str, card: str) -> None:
    Path("lab.yaml").write_text(mtu(network, card), encoding="utf-8")
    assert load(Path("lab.yaml")).networks["lan"].mtu == (int(network) if network else None)


@pytest.mark.parametrize("wrong", ["67", "65536", "0", "-1", "9_000", "0x2328", "9k", "9000.0"])
def test_case_14_mtu_out_of_bounds_is_refused(wrong: str) -> None:
    [found] = failure(mtu(wrong, "")).details
    assert found == (
        f"lab.yaml:5:63: networks.lan.mtu: expected a whole number from 68 to 65535, found '{wrong}'"
    )


def test_case_14_mtu_of_a_card_on_a_host_bridge_asks_for_the_networks() -> None:
    text = mtu("", "9000").replace("mode: nat", "mode: bridge, bridge: br0")
    [found] = failure(text).details
    assert "expected the key 'mtu' of network 'lan' instead (it has no 'mtu'; " in found
    both = mtu("9000", "9000").replace("mode: nat", "mode: bridge, bridge: br0")
    Path("lab.yaml").write_text(both, encoding="utf-8")
    assert load(Path("lab.yaml")).networks["lan"].mtu == 9000


def test_load_several_problems_of_every_kind_lists_all_in_file_order() -> None:
    text = (
        LAB.replace("name: demo", "name: Demo")
        .replace("mode: nat", "mode: net")
        .replace("cpus: 1", "cpus: 1\n    cpus: 2\n    colour: red")
        .replace("10.0.0.3", "10.0.0.255")
        .replace("box: rehearsal", "box:")
    )
    positions = [line.split(": ")[0] for line in failure(text).details]
    assert positions == [
        f"lab.yaml:{place}" for place in ("1:7", "2:1", "5:15", "10:5", "11:5", "14:39")
    ]


def test_load_path_is_named_as_given() -> None:
    Path("sub").mkdir()
    error = failure("name: Demo\n", "sub/../sub/my lab.yaml")
    assert error.message.startswith("The lab file 'sub/../sub/my lab.yaml' has ")
    assert all(line.startswith("sub/../sub/my lab.yaml:1:") for line in error.details)


def test_load_byte_order_mark_and_windows_line_ends_change_no_position() -> None:
    text = replaced("cpus: 1", "cpus: 0").replace("\n", "\r\n")
    error = failure(b"\xef\xbb\xbf" + text.encode())
    assert error.details == (
        "lab.yaml:9:11: nodes.one.cpus: expected a whole number from 1 to 64, found '0'",
    )


def test_case_25_ten_nodes_with_windows_line_ends_in_the_usual_domain_are_a_lab() -> None:
    head = "name: ten\nbox: rehearsal\ndns: {domain: localdomain}\n"
    networks = "networks:\n  lan: {mode: nat, cidr: 10.0.0.0/24, gateway: 10.0.0.1}\nnodes:\n"
    roles = {10: "[controller]", 11: "[network]"}
    nodes = "".join(
        f"  node-{number}:\n    roles: {roles.get(number, '[compute]')}\n    cpus: 1\n"
        "    memory: 512 MiB\n    nics:\n"
        f"      enp0s3: {{network: lan, address: 10.0.0.{number}}}\n"
        f"      enp0s8: {{network: lan, address: 10.0.0.1{number}}}\n"
        for number in range(10, 20)
    )
    text = f"{head}{networks}{nodes}".replace("\n", "\r\n")
    Path("lab.yaml").write_bytes(text.encode())
    assert list(load(Path("lab.yaml")).nodes) == [f"node-{number}" for number in range(10, 20)]


def test_load_other_encoding_names_the_byte() -> None:
    error = failure(LAB.encode() + b"# na\xefve\n")
    assert error.details == ("lab.yaml:13:5: the file: expected UTF-8 text, found the byte 0xef",)


def test_load_deep_nesting_is_refused_before_it_is_built() -> None:
    error = failure("a: " + "[" * 100_000)
    assert error.details == (
        "lab.yaml:1:23: the file: expected at most 20 levels, found deeper nesting",
    )


def test_load_alias_bomb_is_refused_before_it_is_built() -> None:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    error = failure("\n".join(lines))
    assert len(error.details) == 12 + 99
    assert [line.rsplit(" ", 1)[-1] for line in error.details[:3]] == ["anchor", "anchor", "alias"]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n...\n", "~\n"])
def test_load_empty_file_says_so(text: str) -> None:
    assert failure(text).message == "The lab file 'lab.yaml' is empty."


def test_load_missing_file_says_so() -> None:
    with pytest.raises(LabFileError) as caught:
        load(Path("none.yaml"))
    assert caught.value == LabFileError(
        "The lab file 'none.yaml' does not exist.",
        hint="'labkit init' writes one; '--lab FILE' names one that is elsewhere.",
    )


def test_load_directory_says_so() -> None:
    with pytest.raises(LabFileError, match=r"at '\.', and a directory was found\."):
        load(Path())


def test_load_path_below_a_file_says_why() -> None:
    Path("file").touch()
    with pytest.raises(LabFileError, match=r"'file/lab\.yaml' cannot be read: Not a directory\."):
        load(Path("file/lab.yaml"))


def test_load_unreadable_file_says_why() -> None:
    Path("loop").symlink_to("loop")
    with pytest.raises(LabFileError, match="'loop' cannot be read: Too many levels"):
        load(Path("loop"))


def test_load_huge_file_is_refused() -> None:
    error = failure("#" * (yaml.MAX_BYTES + 1))
    assert error.message == "The lab file 'lab.yaml' is larger than 1 MiB, which no lab needs."


TOKENS = [
    "name", "box", "nodes", "networks", "nics", "roles", "one", "enp0s3", "ifcfg", ": ", ":\n", "\n  ",
    "\n    ", "\n", "{", "}", "[", "]", ", ", "- ", "~", "null", "true", "1", "-1", "0x1F", "1e999", "10.0.0.0/24",
    "&a ", "*a", "!!int ", "'", '"', "|", ">", "%YAML 1.1\n---\n", "?", "\t", "#", "ü", "<<", "8 GiB", "nat",
]  # fmt: skip


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(TOKENS), max_size=25), st.sampled_from(["", LAB]))
def test_check_any_text_gives_positions_inside_it_or_a_lab_file_error(
    tokens: list[str], before: str
) -> None:
    text = before + "".join(tokens)
    try:
        document = yaml.parse(text, "lab.yaml")
    except LabFileError:
        return
    lab, problems = check(document)
    assert lab is not None or problems
    lines = text.count("\n") + 1
    assert all(1 <= problem.position.line <= lines for problem in problems)


def properties(part: object) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(part, dict):
        yield from part.get("properties", {}).items()
    children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for child in children:
        yield from properties(child)


def test_schema_every_key_is_described() -> None:
    schema = json_schema()
    json.dumps(schema)
    keys = dict(properties(schema))
    assert {"name", "box", "dns", "networks", "nodes", "cidr", "nics", "ifcfg"} <= set(keys)
    assert [name for name, key in keys.items() if not key.get("description")] == []
    assert "null" not in json.dumps(schema)


def test_schema_bounds_are_those_of_the_model() -> None:
    node = json_schema()["$defs"]["Node"]["properties"]
    assert (node["cpus"]["minimum"], node["cpus"]["maximum"]) == (1, 64)
    assert node["disk"]["default"] == "60 GiB"
    assert json_schema()["properties"]["name"]["pattern"] == NAME_PATTERN


def test_schema_names_scenarios_and_answer_file_keys() -> None:
    deployment = json_schema()["$defs"]["Deployment"]["properties"]
    assert "multinode" in deployment["scenario"]["enum"]
    keys = deployment["answers"]["propertyNames"]["enum"]
    assert {"CONFIG_SERVICE_WORKERS", "CONFIG_NEUTRON_OVS_TUNNEL_IF"} <= set(keys)
    assert len(keys) > 300


def test_schema_refuses_unknown_keys_everywhere() -> None:
    schema = json_schema()
    objects = [schema, *schema["$defs"].values()]
    closed = [item for item in objects if "properties" in item]
    assert len(closed) == 7
    mappings = [schema["properties"][key] for key in ("networks", "nodes")]
    assert all(item["additionalProperties"] is False for item in mappings)
    assert all(item["additionalProperties"] is False for item in closed)

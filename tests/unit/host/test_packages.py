from __future__ import annotations

import re

import pytest

from labkit.host import packages, virt_customize
from labkit.host.packages import how_to_install, install_line
from labkit.host.sandbox import TOOLS as SANDBOX_TOOLS
from labkit.lifecycle.doctor import TOOLS
from tests.support.documentation import ROOT

SETUP = (ROOT / ".ci" / "setup").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("os_release", "line"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "Run 'sudo apt install libvirt-clients qemu-utils'."),
        ("NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\n", "Run 'sudo apt install libvirt-clients qemu-utils'."),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "Run 'sudo apt install libvirt-clients qemu-utils'."),
        ("ID=fedora\n", "Run 'sudo dnf install libvirt-client qemu-img'."),
        ('ID="almalinux"\nID_LIKE="rhel centos fedora"\n', "Run 'sudo dnf install libvirt-client qemu-img'."),
        ("ID=arch\n", "Install the packages of this system that have virsh, qemu-img."),
        ("", "Install the packages of this system that have virsh, qemu-img."),
    ],
)  # fmt: skip
def test_install_line_names_the_packages_of_the_system(os_release: str, line: str) -> None:
    assert install_line(["virsh", "qemu-img"], os_release) == line


def test_install_line_names_a_command_that_no_package_is_known_for() -> None:
    assert install_line(["nothing", "virsh"], "ID=debian\n") == (
        "Run 'sudo apt install libvirt-clients'. Install what has nothing."
    )


def test_how_to_install_in_a_clone_is_make_setup() -> None:
    assert how_to_install("virsh") == "Run 'make setup', which installs everything labkit needs."


@pytest.mark.parametrize("column", ["debian", "fedora"])
def test_table_knows_every_command_by_packages_that_setup_installs(column: str) -> None:
    table = packages._table(column)
    assert {*TOOLS, *SANDBOX_TOOLS} <= set(table)
    name = {"debian": "apt_packages", "fedora": "dnf_packages"}[column]
    listed = re.search(rf"^{name}=\(\n(.*?)^\)", SETUP, re.MULTILINE | re.DOTALL)
    assert listed is not None
    # Only boxes from foreign images need it, and it brings a hundred packages.
    installed = {name for command, name in table.items() if command != virt_customize.PROGRAM}
    # On every system that one can log in to.
    assert installed - {"mount", "tar"} <= set(listed[1].split())
    assert virt_customize.PROGRAM in table


def test_table_names_for_el9_what_is_named_as_on_fedora_and_leaves_the_rest_open() -> None:
    fedora, el9 = packages._table("fedora"), packages._table("el9")
    assert {*fedora} - {*el9} == {"isoinfo", "qemu-system-x86_64", "vagrant", "vagrant-libvirt"}
    own = {package for what, package in el9.items() if package != fedora[what]}
    assert own == {"python3.11", "python3.11-devel"}
    assert install_line(["vagrant", "virsh"], "ID=rocky\nID_LIKE='rhel centos fedora'\n") == (
        "Run 'sudo dnf install libvirt-client'. Install what has vagrant."
    )

"""The kickstart as text; tests/integration/boxes/test_kickstart.py has the programs that judge it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from pydantic import ValidationError

from labkit.boxes.file import InstallIso, KickstartBoxFile
from labkit.boxes.kickstart import RESULT_PORT, kernel_line, missing_packages, render_kickstart
from labkit.errors import OperationError
from tests.support.kickstarts import BOXES, FIRSTBOOT, box, scripts

if TYPE_CHECKING:
    from tests.support.golden import Golden

UNIT = {"labkit-firstboot.service": b"[Unit]\n"}


def with_keys(**changed: object) -> KickstartBoxFile:
    return KickstartBoxFile.model_validate({**box("centos7").model_dump(), **changed})


def test_render_centos7_gives_the_reviewed_text(golden: Golden) -> None:
    short = {"labkit-firstboot": b"#!/bin/bash\n", **UNIT}
    line = kernel_line(stage2_label="CentOS 7 x86_64", kickstart_label="LABKIT_KS")
    texts = {
        "ks.cfg": render_kickstart(box("centos7"), firstboot=short),
        "cmdline.txt": line + "\n",
    }
    golden.check("kickstart", texts)


@pytest.mark.parametrize("name", BOXES)
def test_render_of_every_box_keeps_script_lines_from_looking_like_sections(name: str) -> None:
    text = render_kickstart(box(name), firstboot=FIRSTBOOT)
    marks = [line.split()[0] for line in text.splitlines() if line.startswith("%")]
    assert marks == [
        *("%packages", "%end", "%addon", "%end", "%onerror", "%end", "%traceback", "%end"),
        *("%post", "%end", "%post", "%end"),
    ]


@pytest.mark.parametrize("name", BOXES)
def test_render_installs_every_package_of_the_box_and_no_other(name: str) -> None:
    file = box(name)
    text = render_kickstart(file, firstboot=FIRSTBOOT)
    listed = text.split("%packages --excludedocs\n")[1].split("%end")[0].split()
    assert listed == [*file.packages, *(f"-{package}" for package in file.absent_packages)]


def test_render_has_no_password_and_no_key() -> None:
    text = render_kickstart(box("centos7"), firstboot=FIRSTBOOT)
    commands = text.split("%packages")[0].splitlines()
    assert "rootpw --lock" in commands
    assert "user --name=vagrant" in commands
    assert "ssh-rsa" not in text
    assert "--password" not in "".join(commands)


@given(script=st.binary(max_size=400), unit=st.binary(max_size=400))
def test_render_any_firstboot_bytes_are_in_it_unchanged(script: bytes, unit: bytes) -> None:
    firstboot = {"labkit-firstboot": script, "labkit-firstboot.service": unit}
    setup = scripts(render_kickstart(box("centos7"), firstboot=firstboot))[0]
    for name, content in (("FIRSTBOOT", script), ("UNIT", unit)):
        encoded = re.search(rf"^LABKIT_{name}='\n([A-Za-z0-9+/=\n]*)'$", setup, re.MULTILINE)
        assert encoded is not None
        assert base64.b64decode(encoded[1]) == content
        assert f"LABKIT_{name}_SHA256={hashlib.sha256(content).hexdigest()}\n" in setup


def test_render_hostile_description_stays_one_comment() -> None:
    hostile = "x\n%post\nrm -rf /\n%end\r\u2028{{ 7 * 7 }}{% raw %}"
    text = render_kickstart(with_keys(description=hostile), firstboot=FIRSTBOOT)
    plain = render_kickstart(box("centos7"), firstboot=FIRSTBOOT)
    assert text.splitlines()[0] == "# x %post rm -rf / %end  {{ 7 * 7 }}{% raw %}"
    assert text.splitlines()[1:] == plain.splitlines()[1:]


@pytest.mark.parametrize("key", ["packages", "absent_packages"])
@pytest.mark.parametrize(
    "name", ["", "a b", "a\n%post", "a\n", "%end", "-a", "a;b", "$(a)", "a'b", "--ignoremissing"]
)
def test_box_file_hostile_package_name_is_refused(key: str, name: str) -> None:
    with pytest.raises(ValidationError):
        with_keys(**{key: ["bash", name]})


@pytest.mark.parametrize("name", ["a\n%post.iso", "../a.iso", "a b.iso", "a.iso\n"])
def test_box_file_hostile_iso_name_is_refused(name: str) -> None:
    iso = box("centos7").iso.model_dump()
    with pytest.raises(ValidationError):
        InstallIso.model_validate({**iso, "name": name})


def test_render_without_a_firstboot_file_is_refused() -> None:
    with pytest.raises(KeyError, match=r"labkit-firstboot\.service"):
        render_kickstart(box("centos7"), firstboot={"labkit-firstboot": b""})


def test_render_key_the_box_lacks_is_an_error_and_not_empty() -> None:
    bare = cast("KickstartBoxFile", SimpleNamespace(kickstart="centos7.ks.j2"))
    with pytest.raises(UndefinedError, match="description"):
        render_kickstart(bare, firstboot=FIRSTBOOT)


def test_missing_packages_names_what_the_iso_lacks_in_the_order_of_the_box() -> None:
    file = with_keys(packages=["@core", "rsync", "net-tools", "chrony", "qemu-guest-agent"])
    on_iso = [
        "TRANS.TBL",
        "chrony-3.2-2.el7.x86_64.rpm",
        "net-tools-2.0-0.22.20131004git.el7.x86_64.rpm",
        "rsync-doc-3.1.2-4.el7.noarch.rpm",
        "qemu-guest-agent-2.8.0-2.el7.x86_64",
    ]
    assert missing_packages(file, on_iso) == ("rsync", "qemu-guest-agent")


def test_missing_packages_of_a_complete_iso_are_none() -> None:
    file = with_keys(packages=["@core", "gtk+", "libstdc++", "NetworkManager-team"])
    names = ("gtk+-1-1.el7", "libstdc++-4.8.5-28.el7", "NetworkManager-team-1.10.2-13.el7")
    assert missing_packages(file, (f"{name}.x86_64.rpm" for name in names)) == ()


@pytest.mark.parametrize(
    ("label", "escaped"),
    [
        ("CentOS 7 x86_64", r"CentOS\x207\x20x86_64"),
        ("LABKIT_KS", "LABKIT_KS"),
        ("a/b\\c", r"a\x2fb\x5cc"),
        ("\"'$`&;", r"\x22\x27\x24\x60\x26\x3b"),
        ("#+-.=@_", "#+-.=@_"),
        ("é", "é"),
    ],
)
def test_kernel_line_label_is_written_as_udev_names_it(label: str, escaped: str) -> None:
    words = kernel_line(stage2_label=label, kickstart_label="K").split()
    assert f"inst.stage2=hd:LABEL={escaped}" in words
    words = kernel_line(stage2_label="S", kickstart_label=label).split()
    assert f"inst.ks=hd:LABEL={escaped}:/ks.cfg" in words


@pytest.mark.parametrize("label", ["", "a:b", "a\nb", "a\x00", "\u2028"])
def test_kernel_line_label_that_cannot_be_given_is_refused(label: str) -> None:
    with pytest.raises(OperationError) as caught:
        kernel_line(stage2_label=label, kickstart_label="K")
    assert repr(label) in caught.value.message


def test_kernel_line_names_and_consoles_are_those_of_the_installed_system() -> None:
    text = render_kickstart(box("centos7"), firstboot=FIRSTBOOT)
    appended = re.search(r'^bootloader .*--append="([^"]+)"$', text, re.MULTILINE)
    assert appended is not None
    assert appended[1].split() == [
        *("net.ifnames=1", "biosdevname=0", "console=tty0", "console=ttyS0,115200n8")
    ]
    line = kernel_line(stage2_label="S", kickstart_label="K")
    assert f" {appended[1]} " in line
    assert f"LABKIT_KERNEL_ARGS='{appended[1]}'" in text


def test_result_port_is_the_one_the_scripts_write_to() -> None:
    text = render_kickstart(box("centos7"), firstboot=FIRSTBOOT)
    assert text.count(f"/dev/virtio-ports/{RESULT_PORT}") == 4
    root = Path(__file__).parents[3] / "kickstart"
    assert all(
        "virtio-ports" not in (root / f"centos7-{name}").read_text() for name in ("post", "verify")
    )

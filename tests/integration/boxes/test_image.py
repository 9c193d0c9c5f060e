"""A box from an image with the real qemu-img; virt-customize, and what CentOS has, stand in."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.build import build
from labkit.boxes.cache import cached, reason_to_build, verify
from labkit.boxes.definition import find_box
from labkit.boxes.kickstart import IMAGE_SCRIPTS, KERNEL_ARGS, render_image_scripts
from labkit.errors import CommandError, HostError, LabFileError
from labkit.host.files import file_sha256
from labkit.host.process import environment, run
from tests.fakes.http_server import HOST, FakeFileServer, serving
from tests.integration.boxes.test_kickstart import Guest, make_guest, tool
from tests.support.boxtree import add_box, box_image
from tests.support.kickstarts import FIRSTBOOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.boxes.cache import CachedBox

pytestmark = pytest.mark.integration

MIB = 2**20
HEAD = 'builder: image\ndescription: "Mine."\ndisk_gib: 3\n'
COMPLETE = f"{HEAD}contract: complete\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A box directory's image of 2 GiB, with something at its beginning and at its end."""
    tool("qemu-img")
    target = add_box(tmp_path, "mine", HEAD) / "my image, 7.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", target, "2G"], timeout=60)
    for where in ("0", "2047M"):
        run(["qemu-io", "-f", "qcow2", "-c", f"write -P 7 {where} 1M", target], timeout=60)
    return target


def made(place: Path, text: str, said: list[str] | None = None) -> CachedBox:
    add_box(place, "mine", text)
    told = [] if said is None else said
    return build(find_box("mine", beside=place), place / "cache", told.append)


def reads(box: CachedBox, pattern: int, where: str) -> bool:
    """Return whether a MiB of the box's disk is filled with a byte."""
    argv = ["qemu-io", "-r", "-c", f"read -P {pattern} {where} 1M", box_image(box)]
    done = run(argv, timeout=60)
    return "Pattern verification failed" not in done.stdout


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "boxes/mine").glob("*"))


def test_box_from_a_complete_image_has_its_content_on_a_larger_disk(
    image: Path, tmp_path: Path
) -> None:
    before = file_sha256(image)
    built = made(tmp_path, f"{COMPLETE}image: {image.name!r}\nsha256: {before}\n")
    assert verify(built) == ()
    assert [reads(built, 7, where) for where in ("0", "2047M")] == [True, True]
    assert reads(built, 0, "2048M")
    info = run(["qemu-img", "info", "--output=json", box_image(built)], timeout=60)
    assert json.loads(info.stdout)["virtual-size"] == 3 * 2**30
    assert "backing-filename" not in json.loads(info.stdout)
    with tarfile.open(built.box_file) as archive:
        assert archive.getnames() == ["metadata.json", "Vagrantfile", "info.json", "box.img"]
    known = json.loads((built.box_file.parent / "provenance.json").read_text())
    assert known["image_sha256"] == before == file_sha256(image)
    assert left(tmp_path / "cache") == [built.key[:16]]


def test_box_without_a_checksum_is_built_anew_when_its_image_changes(
    image: Path, tmp_path: Path
) -> None:
    first = made(tmp_path, f"{COMPLETE}image: {image.name!r}\n")
    assert made(tmp_path, f"{COMPLETE}image: {image.name!r}\n") == first
    run(["qemu-io", "-f", "qcow2", "-c", "write -P 9 0 1M", image], timeout=60)
    definition = find_box("mine", beside=tmp_path)
    reason = reason_to_build(definition, tmp_path / "cache")
    assert reason is not None
    assert [line.partition(" was ")[0] for line in reason.changed] == ["file: image"]
    assert reads(made(tmp_path, f"{COMPLETE}image: {image.name!r}\n"), 9, "0")


def test_image_that_names_a_file_of_this_host_is_refused(image: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s3cret" * 1000)
    image.unlink()
    create = ("qemu-img", "create", "-q", "-f", "qcow2")
    run((*create, "-F", "raw", "-b", str(secret), str(image)), timeout=60)
    with pytest.raises(LabFileError, match="needs another file"):
        made(tmp_path, f"{COMPLETE}image: {image.name!r}\n")
    image.unlink()
    run((*create, "-o", f"data_file={secret}", str(image), "1M"), timeout=60)
    with pytest.raises(LabFileError, match="needs another file"):
        made(tmp_path, f"{COMPLETE}image: {image.name!r}\n")
    assert left(tmp_path / "cache") == []


@pytest.fixture
def server(image: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFileServer]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, HOST)
    with serving(FakeFileServer(image.read_bytes())) as running:
        yield running


def test_image_from_a_url_is_fetched_once_and_its_length_asked_for(
    server: FakeFileServer, image: Path, tmp_path: Path
) -> None:
    text = f"{COMPLETE}image: {server.url}\nsha256: {file_sha256(image)}\n"
    assert reads(made(tmp_path, text), 7, "0")
    assert len(server.requests) == 2
    made(tmp_path, text.replace("Mine.", "Mine, again."))
    assert len(server.requests) == 2


def test_image_from_a_url_with_another_content_is_refused(
    server: FakeFileServer, tmp_path: Path
) -> None:
    with pytest.raises(HostError, match="could not be downloaded") as caught:
        made(tmp_path, f"{COMPLETE}image: {server.url}\nsha256: {'a' * 64}\n")
    assert f"as 'image' in '{tmp_path}/boxes/mine/box.yaml'" in caught.value.hint
    assert left(tmp_path / "cache") == []


def test_image_from_a_url_that_is_not_there_says_what_the_server_said(
    server: FakeFileServer, tmp_path: Path
) -> None:
    server.statuses = [404]
    with pytest.raises(HostError, match="the server answered 404"):
        made(tmp_path, f"{COMPLETE}image: {server.url}\nsha256: {'a' * 64}\n")
    server.statuses = [404]
    with pytest.raises(HostError, match="could not be downloaded"):
        made(tmp_path, f"{COMPLETE}image: {server.url}\nsha256: {'a' * 64}\nsize: 7\n")


STAND_IN = """#!/bin/bash
# Stands in for virt-customize: notes what it is asked, and writes into the image as it would.
[[ $LIBGUESTFS_BACKEND == direct ]] || exit 9
printf '%s\\n' "$@" >"$NOTES/asked"
for word; do [[ $word != *:/root/* ]] || cp "${word%%:*}" "$NOTES/"; done
echo 'FAILED it cannot be done' >"$NOTES/said"
[[ ! -e $NOTES/fail ]] || { cat "$NOTES/said"; exit 1; }
while [[ $1 != --add ]]; do shift; done
exec qemu-io -f qcow2 -c 'write -P 9 1M 1M' "$2"
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program in virt-customize's place notes what it is asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "virt-customize").write_text(STAND_IN)
    (tools / "virt-customize").chmod(0o755)
    found = tmp_path / "notes"
    found.mkdir()
    monkeypatch.setenv("NOTES", str(found))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return found


def test_image_is_set_up_in_a_disk_in_front_of_it(
    image: Path, notes: Path, tmp_path: Path
) -> None:
    before = file_sha256(image)
    built = made(tmp_path, f"{HEAD}image: {image.name!r}\n")
    assert [reads(built, 7, "0"), reads(built, 9, "1M")] == [True, True]
    assert file_sha256(image) == before
    asked = (notes / "asked").read_text().splitlines()
    assert [word for word in asked if word.startswith("--")] == [
        *("--no-network", "--format", "--add"),
        *(["--upload", "--run-command", "--delete"] * len(IMAGE_SCRIPTS)),
        *("--no-logfile", "--selinux-relabel"),
    ]
    scripts = render_image_scripts(firstboot=FIRSTBOOT)
    assert {name: (notes / name).read_text() for name in IMAGE_SCRIPTS} == scripts


def test_image_that_cannot_be_set_up_makes_no_box(
    image: Path, notes: Path, tmp_path: Path
) -> None:
    (notes / "fail").touch()
    with pytest.raises(CommandError, match="could not be made a box") as caught:
        made(tmp_path, f"{HEAD}image: {image.name!r}\n")
    assert caught.value.details[0] == "FAILED it cannot be done"
    assert cached(find_box("mine", beside=tmp_path), tmp_path / "cache") is None
    assert left(tmp_path / "cache") == []


# A CentOS 7 for clouds, by its own kickstart: every card an eth<n>, cloud-init, no vagrant.
CLOUD = {
    "etc/shadow": "root:!!:1:0:9:7:::\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/rc.d/init.d/network": "#!/bin/bash\n",
    "etc/cloud/cloud.cfg": "users: [default]\n",
    "etc/default/grub": 'GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX="console=tty0 crashkernel=auto"\n',
    "etc/udev/rules.d/80-net-name-slot.rules": "",
    "etc/udev/rules.d/75-persistent-net-generator.rules": "",
    "etc/sysconfig/network-scripts/ifcfg-eth0": "DEVICE=eth0\nBOOTPROTO=dhcp\n",
    "usr/lib/systemd/system/cloud-init.service": "[Install]\nWantedBy=multi-user.target\n",
    "usr/lib/systemd/system/cloud-final.service": "[Install]\nWantedBy=multi-user.target\n",
    "sys/class/block/sda/size": "125829120\n",
    "sys/class/block/sda/sda1/start": "2048\n",
    "sys/class/block/sda/sda1/size": "16775168\n",
    "sys/class/block/sda1": None,
}
GRUB = (
    "\tlinux16 /boot/vmlinuz-3.10.0-862.el7.x86_64 root=UUID=1 ro console=tty0 "
    "console=ttyS0,115200n8 crashkernel=auto net.ifnames=0 \n\tinitrd16 /boot/x console=tty0\n"
)
# The last words of each are what it would have done.
CLOUD_COMMANDS = {
    "useradd": 'echo vagrant:x:1000: >>"$LABKIT_ROOT/etc/passwd"; echo "vagrant:!!:1:::::" >>"$LABKIT_ROOT/etc/shadow"',
    "usermod": "sed -i \"s/^$3:[^:]*:/$3:$2:/\" \"$LABKIT_ROOT/etc/shadow\"",
    "chkconfig": 'ln -sf ../init.d/network "$LABKIT_ROOT/etc/rc.d/rc3.d/S10network"',
    "findmnt": "echo /dev/sda1",
    "growpart": ":",
    "xfs_growfs": ":",
    "sshd": ":",
    "sudo": ":",
    "blkid": ":",
    "ip": ":",
}  # fmt: skip


@pytest.fixture
def cloud(tmp_path: Path) -> Guest:
    """A directory that looks like an image of CentOS 7 for clouds, as far as the scripts look."""
    tool("systemctl")
    guest = make_guest(tmp_path, "")
    for path, text in CLOUD.items():
        if text is None:
            (guest.root / path).symlink_to("sda/sda1")
        else:
            guest.write(path, text)
    (guest.root / "boot/grub2/grub.cfg").write_text(GRUB)
    (guest.root / "dev").mkdir(exist_ok=True)
    for name, action in CLOUD_COMMANDS.items():
        command = guest.commands / name
        command.write_text(f'#!/bin/bash\necho "{name} $*" >>"${{0%/*}}/noted"\n{action}\n')
        command.chmod(0o755)
    return guest


def run_all(guest: Guest) -> list[str]:
    """Run the scripts as virt-customize does, up to the first that fails; return what they told."""
    port = guest.port.relative_to(guest.root)
    for name, text in render_image_scripts(firstboot=FIRSTBOOT).items():
        (guest.commands.parent / name).write_text(text)
        env = environment(
            PATH=f"{guest.commands}:{os.environ['PATH']}",
            LABKIT_ROOT=str(guest.root),
            LABKIT_SYSIMAGE=str(guest.root),
            # The last one is told whole paths: it looks at the guest from outside.
            LABKIT_PORT=str(guest.port) if name == IMAGE_SCRIPTS[-1] else f"/{port}",
        )
        argv = [tool("bash"), str(guest.commands.parent / name)]
        if run(argv, env=env, check=False, timeout=60).returncode != 0:
            break
    return guest.reported()


def test_scripts_make_an_image_for_clouds_a_box_that_verifying_accepts(cloud: Guest) -> None:
    assert run_all(cloud)[-1] == "OK"
    noted = cloud.noted()
    assert "growpart /dev/sda 1" in noted
    assert noted.index("growpart /dev/sda 1") < noted.index("xfs_growfs /")
    assert (cloud.root / "etc/cloud/cloud-init.disabled").exists()
    for unit in ("cloud-init", "cloud-final"):
        link = cloud.root / f"etc/systemd/system/{unit}.service"
        assert os.readlink(link) == "/dev/null"  # noqa: PTH115 -- the text, not a path of this host
    assert list((cloud.root / "etc/udev/rules.d").iterdir()) == []


def test_scripts_leave_one_of_each_kernel_argument(cloud: Guest) -> None:
    run_all(cloud)
    args = " ".join(KERNEL_ARGS)
    assert cloud.text("etc/default/grub") == f'GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX=" {args}"\n'
    kernel = "/boot/vmlinuz-3.10.0-862.el7.x86_64"
    assert cloud.text("boot/grub2/grub.cfg") == (
        f"\tlinux16 {kernel} root=UUID=1 ro {args}\n\tinitrd16 /boot/x console=tty0\n"
    )


def test_scripts_run_twice_come_to_the_same(cloud: Guest) -> None:
    assert run_all(cloud)[-1] == "OK"
    before = cloud.text("boot/grub2/grub.cfg"), cloud.text("etc/passwd")
    assert run_all(cloud)[-1] == "OK"
    assert (cloud.text("boot/grub2/grub.cfg"), cloud.text("etc/passwd")) == before


def test_scripts_leave_a_root_file_system_that_fills_its_disk_alone(cloud: Guest) -> None:
    cloud.write("sys/class/block/sda/size", "16777300\n")
    assert run_all(cloud)[-1] == "OK"
    assert not any("grow" in line for line in cloud.noted())


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        ("findmnt", "its root file system is on '/dev/mapper/a-b', which does not grow"),
        ("growpart", "it lacks growpart"),
        ("sda2", "is not on the last partition"),
        ("network", "it has no service 'network'"),
        ("chkconfig", "this is no CentOS 7, or a small one: it lacks chkconfig"),
    ],
)
def test_scripts_say_why_an_image_cannot_be_a_box(cloud: Guest, break_it: str, told: str) -> None:
    match break_it:
        case "findmnt":
            (cloud.commands / "findmnt").write_text("#!/bin/bash\necho /dev/mapper/a-b\n")
        case "sda2":
            cloud.write("sys/class/block/sda/sda2/start", "16777216\n")
            cloud.write("sys/class/block/sda/sda2/size", "2048\n")
        case "network":
            (cloud.root / "etc/rc.d/init.d/network").unlink()
        case name if shutil.which(name):
            pytest.skip(f"this host has '{name}' itself")
        case name:
            (cloud.commands / name).unlink()
    reported = run_all(cloud)
    assert reported[0].startswith("FAILED preparing the image: ")
    assert told in reported[0]
    assert len(reported) == 1


def test_scripts_name_the_command_that_fails(cloud: Guest) -> None:
    (cloud.commands / "useradd").write_text("#!/bin/bash\nexit 3\n")
    [line] = run_all(cloud)
    assert re.fullmatch(
        r"FAILED preparing the image: line \d+: useradd --create-home vagrant", line
    )


@pytest.mark.parametrize("name", IMAGE_SCRIPTS)
def test_every_script_for_an_image_is_accepted_by_bash(name: str) -> None:
    script = render_image_scripts(firstboot=FIRSTBOOT)[name]
    run([tool("bash"), "-n"], stdin=script, timeout=60, env=environment())

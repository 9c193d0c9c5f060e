from __future__ import annotations

import io
import subprocess  # noqa: TID251 -- the guest's bash, run here
import tarfile
from pathlib import PurePosixPath

import pytest

from labkit.packstack.gather import gather_script, masked, unpack


def archive(*members: tuple[str, bytes, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size = len(content)
            info.linkname = "/etc/shadow"
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def test_unpack_yields_files_and_blacks_out_secrets() -> None:
    packed = archive(
        ("./log/a.log", tarfile.REGTYPE, b"url rabbit://guest:hunter2hunter2@controller\n"),
        ("./log", tarfile.DIRTYPE, b""),
    )
    assert dict(unpack(packed, ["hunter2hunter2"])) == {
        PurePosixPath("log/a.log"): b"url rabbit://guest:********@controller\n"
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../out", tarfile.REGTYPE),
        ("/etc/passwd", tarfile.REGTYPE),
        ("a/../../b", tarfile.REGTYPE),
        ("connection", tarfile.SYMTYPE),
        ("device", tarfile.CHRTYPE),
    ],
)
def test_unpack_of_a_hostile_archive_leaves_out_what_leads_astray(name: str, kind: bytes) -> None:
    assert list(unpack(archive((name, kind, b"")), [])) == []


def test_unpack_of_no_archive_says_so() -> None:
    with pytest.raises(tarfile.TarError):
        list(unpack(b"sudo: a password is required", []))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"CONFIG_NOVA_DB_PW=abc\n", b"CONFIG_NOVA_DB_PW=********\n"),
        (b"export OS_PASSWORD='a b'\n", b"export OS_PASSWORD=********\n"),
        (b"admin_token = xyz\n", b"admin_token = ********\n"),
        (b"password must be set\n", b"password must be set\n"),
        (b"short abc stays\n", b"short abc stays\n"),
        (b"longlonglong goes\n", b"******** goes\n"),
        (b"longlonglonger goes first\n", b"******** goes first\n"),
    ],
)
def test_masked_hides_secrets_and_nothing_else(text: bytes, shown: bytes) -> None:
    assert masked(text, ["abc", "longlonglong", "longlonglonger"]) == shown


def test_gather_script_prints_an_archive_with_the_network_in_it() -> None:
    done = subprocess.run(
        ["bash", "-s"], input=gather_script().encode(), capture_output=True, check=True
    )
    names = {str(path) for path, _ in unpack(done.stdout, [])}
    assert {"network/ip-addr.txt", "system/df.txt"} <= names

"""Lists of packages as servers send them: right, broken, and made to harm."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pytest

from labkit.packstack import metadata
from labkit.packstack.metadata import has_package, package_list
from tests.fakes.mirror import LISTED, REPOMD

PACKAGE = "centos-release-openstack-queens"
PATH = "repodata/primary.xml.gz"


@pytest.mark.parametrize(
    ("repomd", "path"),
    [
        (REPOMD, PATH),
        (REPOMD.replace(b'"', b"'").replace(b"\n", b" "), PATH),
        (REPOMD.replace(b"primary", b"other"), None),
        (REPOMD.replace(b"repodata/primary", b"/etc/primary"), None),
        (REPOMD.replace(b"repodata/primary", b"http://other.example/primary"), None),
        (b"<repomd/>", None),
        (b"\0\xff", None),
    ],
)
def test_list_of_packages_is_what_repomd_calls_primary(repomd: bytes, path: str | None) -> None:
    assert package_list(repomd) == path


@pytest.mark.parametrize(
    ("packed", "path"),
    [
        (gzip.compress(LISTED), PATH),
        (bz2.compress(LISTED), "repodata/1-primary.xml.bz2"),
        (lzma.compress(LISTED), "repodata/primary.xml.xz"),
    ],
    ids=["gz", "bz2", "xz"],
)
def test_package_is_found_by_its_whole_name_however_the_list_is_packed(
    packed: bytes, path: str
) -> None:
    assert has_package(packed, path, PACKAGE)
    assert not has_package(packed, path, "centos-release-openstack-train")
    assert not has_package(packed, path, PACKAGE[:-1])


@pytest.mark.parametrize(
    ("packed", "path", "why"),
    [
        (gzip.compress(LISTED)[:-9], PATH, "it ends too soon"),
        (LISTED, PATH, "is broken"),
        (b"", PATH, "it ends too soon"),
        (bz2.compress(LISTED)[4:], "p.bz2", "is broken"),
        (gzip.compress(LISTED), "p.xz", "is broken"),
        (LISTED, "p.zst", "is packed as '.zst', which yum does not know"),
        (gzip.compress(b"\0" * metadata.MAX_BYTES), PATH, "is too large"),
        (gzip.compress(LISTED) + b"\0" * metadata.MAX_PACKED_BYTES, PATH, "is too large"),
    ],
    ids=["cut", "plain", "empty", "no-bz2", "no-xz", "zst", "unpacked", "packed"],
)
def test_list_that_cannot_be_looked_into_says_why(packed: bytes, path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        has_package(packed, path, PACKAGE)

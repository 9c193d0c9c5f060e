from __future__ import annotations

import configparser
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from labkit.lab import releases
from labkit.lab.topology import Release, Repositories
from labkit.packstack import repositories
from labkit.packstack.repositories import candidates, repo_template, without_password

VAULT = Repositories(
    tree="7.9.2009",
    bases=("https://vault.centos.org", "http://mirror.example/centos"),
    proxy=None,
)
QUEENS = Release.QUEENS
HOSTILE = ["http://a b/", "http://x\n[evil]\nbaseurl=http://e", "http://$basearch/", "http://x,y;z#'\""]  # fmt: skip


def behind(proxy: str) -> Repositories:
    return replace(VAULT, proxy=proxy)


def parsed(text: str) -> configparser.RawConfigParser:
    reader = configparser.RawConfigParser()
    reader.read_string(text)
    return reader


def test_candidates_are_the_bases_in_order_each_with_one_whole_tree() -> None:
    first, second = candidates(VAULT, QUEENS)
    assert [source.url for source in first.sources] == [
        "https://vault.centos.org/7.9.2009/os/x86_64/",
        "https://vault.centos.org/7.9.2009/updates/x86_64/",
        "https://vault.centos.org/7.9.2009/extras/x86_64/",
        "https://vault.centos.org/7.9.2009/cloud/x86_64/openstack-queens/",
        "https://vault.centos.org/7.9.2009/storage/x86_64/ceph-luminous/",
        "https://vault.centos.org/7.9.2009/virt/x86_64/kvm-common/",
    ]
    assert all(s.url.startswith("http://mirror.example/centos/7.9.2009/") for s in second.sources)
    assert first.sources[0].repomd.endswith("/7.9.2009/os/x86_64/repodata/repomd.xml")


def test_candidates_other_tree_never_mix_trees() -> None:
    (only,) = candidates(replace(VAULT, tree="7.5.1804", bases=VAULT.bases[:1]), QUEENS)
    assert {source.url.split("/")[3] for source in only.sources} == {"7.5.1804"}


def test_repo_file_checks_signatures_and_names_no_mirror_list() -> None:
    found = parsed(repo_template(VAULT, QUEENS))
    assert found.sections() == [item.repo_id for item in releases.repositories(QUEENS)]
    for name in found.sections():
        section = found[name]
        assert section["gpgcheck"] == section["enabled"] == "1"
        assert section["gpgkey"].startswith("file:///etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS-")
        assert not {"mirrorlist", "proxy"} & set(section)
        assert section["failovermethod"] == "priority"
    assert found["labkit-openstack-queens"]["exclude"] == "sip,PyQt4"
    assert found["labkit-kvm-common"]["gpgkey"].endswith("-SIG-Virtualization")


def test_repo_file_proxy_is_set_for_every_repository_and_its_user_apart() -> None:
    found = parsed(repo_template(behind("http://me:secret@proxy.example:3128"), QUEENS))
    for name in found.sections():
        assert found[name]["proxy"] == "http://proxy.example:3128"
        assert found[name]["proxy_username"] == "me"
        assert found[name]["proxy_password"] == "secret"  # noqa: S105 -- made up


@pytest.mark.parametrize("hostile", HOSTILE)
def test_repo_file_hostile_values_add_no_section_key_or_variable(hostile: str) -> None:
    plain = parsed(repo_template(behind("http://p"), QUEENS))
    changed = replace(VAULT, bases=(hostile,), tree=f"7\n{hostile}", proxy=hostile)
    text = repo_template(changed, QUEENS)
    found = parsed(text)
    assert found.sections() == plain.sections()
    assert {key for name in found.sections() for key in found[name]} == {
        key for name in plain.sections() for key in plain[name]
    }
    urls = [source.url for source in candidates(changed, QUEENS)[0].sources]
    assert not any(mark in url for url in [text, *urls] for mark in ("$", "\n[evil"))
    assert not any(url.split() != [url] for url in urls)


@pytest.mark.parametrize("proxy", ["http://u%0Aenabled=0:p%0A[x]@h:1", "http://u\n[x]:p\n@h:1"])
def test_repo_file_hostile_proxy_user_stays_on_its_line(proxy: str) -> None:
    found = parsed(repo_template(behind(proxy), QUEENS))
    assert found.sections() == [item.repo_id for item in releases.repositories(QUEENS)]
    assert all(found[name]["enabled"] == "1" for name in found.sections())


def test_urls_for_people_hold_no_password() -> None:
    assert without_password("https://me:s@h.example:8/a@b") == "https://***@h.example:8/a@b"
    assert without_password("https://h.example/a@b") == "https://h.example/a@b"
    secret = replace(VAULT, bases=("https://me:s@h.example",))
    assert candidates(secret, QUEENS)[0].shown == "https://***@h.example/7.9.2009"
    assert urlsplit(candidates(secret, QUEENS)[0].sources[0].url).password == "s"  # noqa: S105 -- made up


def test_repositories_before_the_release_package_need_no_key_it_brings() -> None:
    assert repositories.release_repositories(QUEENS) == (
        "labkit-base",
        "labkit-updates",
        "labkit-extras",
    )
    assert len(repositories.signing_keys(QUEENS)) == 3


@pytest.mark.parametrize("release", Release)
def test_repositories_of_a_release_are_each_in_the_file_with_its_key(release: Release) -> None:
    found = parsed(repo_template(VAULT, release))
    (first, *_) = candidates(VAULT, release)
    assert len(found.sections()) == len(first.sources)
    assert f"labkit-openstack-{release}" in found.sections()
    signed = {found[name]["gpgkey"].removeprefix("file://") for name in found.sections()}
    assert signed == {*repositories.signing_keys(release), f"{releases.KEYS}-7"}

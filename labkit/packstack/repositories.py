"""Where a node's packages come from, now that CentOS 7's own mirrors are gone: URLs and the .repo file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.lab.topology import Repositories

ARCHITECTURE = "x86_64"
KEYS = "/etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS"
# Carries the .repo files, and by what it requires the signing keys, of all three SIGs below. It
# lies in extras, signed with CentOS 7's own key.
RELEASE_PACKAGE = "centos-release-openstack-queens"
# yum has no quoting: a space or comma ends a URL, '$' begins a variable, a newline the next key.
SAFE_IN_URL = ":/@[]+%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A yum repository of a CentOS 7 release tree.

    Attributes:
        name: Its id in labkit.repo without the prefix.
        path: Where it lies below `<base>/<release>/`.
        key: Path in the guest of the key its packages are signed with.
        exclude: Packages never taken from it, as in its stock .repo file.
        sig: Whether it is a special interest group's, whose key RELEASE_PACKAGE brings.
    """

    name: str
    path: str
    key: str
    exclude: str = ""
    sig: bool = False

    @property
    def repo_id(self) -> str:
        """Return its id; not the stock one, which yum would find twice."""
        return f"labkit-{self.name}"


REPOSITORIES = (
    Repository(name="base", path=f"os/{ARCHITECTURE}/", key=f"{KEYS}-7"),
    Repository(name="updates", path=f"updates/{ARCHITECTURE}/", key=f"{KEYS}-7"),
    Repository(name="extras", path=f"extras/{ARCHITECTURE}/", key=f"{KEYS}-7"),
    Repository(
        name="openstack-queens",
        path=f"cloud/{ARCHITECTURE}/openstack-queens/",
        key=f"{KEYS}-SIG-Cloud",
        exclude="sip,PyQt4",
        sig=True,
    ),
    Repository(
        name="ceph-luminous",
        path=f"storage/{ARCHITECTURE}/ceph-luminous/",
        key=f"{KEYS}-SIG-Storage",
        sig=True,
    ),
    Repository(
        name="kvm-common",
        path=f"virt/{ARCHITECTURE}/kvm-common/",
        key=f"{KEYS}-SIG-Virtualization",
        sig=True,
    ),
)

# Other versions, which EPEL once brought, break facter and Packstack. Known for the final tree
# only: 7.5.1804 has a facter that does without leatherman.
PINS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "7.9.2009": (
        ("leatherman", "1.3.0"),
        ("qpid-proton-c", "0.22.0"),
        ("python2-qpid-proton", "0.22.0"),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryAtPlace:
    """A repository at one place.

    Attributes:
        repository: Which one.
        url: Its base URL.
    """

    repository: Repository
    url: str

    @property
    def repomd(self) -> str:
        """Return the URL of its index, the file that proves it is there."""
        return f"{self.url}repodata/repomd.xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A release tree at one place: all repositories come from it, or none.

    Attributes:
        base: The URL the release trees lie under there.
        release: The release tree.
        sources: Every repository labkit needs, in the order of REPOSITORIES.
    """

    base: str
    release: str
    sources: tuple[RepositoryAtPlace, ...]

    @property
    def shown(self) -> str:
        """Return its URL as it may be printed."""
        return without_password(f"{self.base}/{quote(self.release)}")


def candidates(repositories: Repositories) -> tuple[Candidate, ...]:
    """Return the places of the lab's release tree in the order they are tried."""
    return tuple(_candidate(base, repositories.release) for base in repositories.bases)


def _candidate(base: str, release: str) -> Candidate:
    place = _url(base).rstrip("/")
    return Candidate(
        base=place,
        release=release,
        sources=tuple(
            RepositoryAtPlace(repository=item, url=f"{place}/{quote(release)}/{item.path}")
            for item in REPOSITORIES
        ),
    )


def repo_template(release: str, proxy: str | None) -> str:
    """Return the text of /etc/yum.repos.d/labkit.repo, all but the URLs.

    Each `baseurl` is `@` and the repository's index: the node puts the URLs of the places there that
    have every repository, in their order. Neither mirror lists nor variables: every URL is one that
    was probed.

    Args:
        release: The release tree.
        proxy: HTTP proxy for yum; None for none.
    """
    lines = ["# Written by labkit from lab.yaml, whenever a node is prepared.", ""]
    for index, item in enumerate(REPOSITORIES):
        lines += [
            f"[{item.repo_id}]",
            f"name=CentOS {quote(release)} {item.name}, chosen by labkit",
            f"baseurl=@{index}",
            "failovermethod=priority",
            "enabled=1",
            "gpgcheck=1",
            f"gpgkey=file://{item.key}",
            "skip_if_unavailable=0",
            *_proxy_lines(proxy),
            *([f"exclude={item.exclude}"] if item.exclude else []),
            "",
        ]
    return "\n".join(lines)


def signing_keys() -> tuple[str, ...]:
    """Return the paths of the keys that RELEASE_PACKAGE brings."""
    return tuple(item.key for item in REPOSITORIES if item.sig)


def release_repositories() -> tuple[str, ...]:
    """Return the ids of the repositories that can be used before RELEASE_PACKAGE is there."""
    return tuple(item.repo_id for item in REPOSITORIES if not item.sig)


def proxy_url(proxy: str | None) -> str:
    """Return the proxy for curl; empty for none."""
    return _url(proxy) if proxy else ""


def has_password(*urls: str | None) -> bool:
    """Return whether one of the URLs names a user, and so may name a password."""
    return any("@" in url for url in urls if url)


def without_password(url: str) -> str:
    """Return a URL as it may be printed: without what stands before an @."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if not separator or "@" not in authority:
        return url
    return f"{scheme}://***@{authority.rpartition('@')[2]}{slash}{path}"


def _url(url: str) -> str:
    return quote(url, safe=SAFE_IN_URL)


def _proxy_lines(proxy: str | None) -> tuple[str, ...]:
    """Return yum's keys for a proxy; it wants user and password apart from the URL."""
    if not proxy:
        return ()
    scheme, _separator, rest = _url(proxy).partition("://")
    authority, slash, path = rest.partition("/")
    user, _at, host = authority.rpartition("@")
    name, _colon, password = user.partition(":")
    keys = {
        "proxy": f"{scheme}://{host}{slash}{path}",
        "proxy_username": _plain(name),
        "proxy_password": _plain(password),
    }
    return tuple(f"{key}={value}" for key, value in keys.items() if value)


def _plain(text: str) -> str:
    # Decoded, because yum takes the value as it stands; nothing that ends a line gets out of it.
    decoded = unquote(text)
    return decoded if decoded.isprintable() else text

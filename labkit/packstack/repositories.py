"""Where a node's packages come from, now that CentOS 7's own mirrors are gone: URLs and the .repo file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from labkit.lab import releases

if TYPE_CHECKING:
    from labkit.lab.releases import Repository
    from labkit.lab.topology import Release, Repositories

# yum has no quoting: a space or comma ends a URL, '$' begins a variable, a newline the next key.
SAFE_IN_URL = ":/@[]+%"


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
        tree: The release tree.
        sources: Every repository of the release of OpenStack, in its order.
    """

    base: str
    tree: str
    sources: tuple[RepositoryAtPlace, ...]

    @property
    def extras(self) -> RepositoryAtPlace:
        """Return the repository that has the release's package."""
        return next(item for item in self.sources if item.repository.name == "extras")

    @property
    def shown(self) -> str:
        """Return its URL as it may be printed."""
        return without_password(f"{self.base}/{quote(self.tree)}")


def candidates(packages: Repositories, release: Release) -> tuple[Candidate, ...]:
    """Return the places of the lab's release tree in the order they are tried.

    Args:
        packages: Where the nodes get their packages.
        release: The release of OpenStack, whose repositories are among them.
    """
    return tuple(_candidate(base, packages.tree, release) for base in packages.bases)


def _candidate(base: str, tree: str, release: Release) -> Candidate:
    place = _url(base).rstrip("/")
    return Candidate(
        base=place,
        tree=tree,
        sources=tuple(
            RepositoryAtPlace(repository=item, url=f"{place}/{quote(tree)}/{item.path}")
            for item in releases.repositories(release)
        ),
    )


def repo_template(packages: Repositories, release: Release) -> str:
    """Return the text of /etc/yum.repos.d/labkit.repo, all but the URLs.

    Each `baseurl` is `@` and the repository's index: the node puts the URLs of the places there that
    have every repository, in their order. Neither mirror lists nor variables: every URL is one that
    was probed.

    Args:
        packages: Where the nodes get their packages.
        release: The release of OpenStack.
    """
    lines = ["# Written by labkit from lab.yaml, whenever a node is prepared.", ""]
    for index, item in enumerate(releases.repositories(release)):
        lines += [
            f"[{item.repo_id}]",
            f"name=CentOS {quote(packages.tree)} {item.name}, chosen by labkit",
            f"baseurl=@{index}",
            "failovermethod=priority",
            "enabled=1",
            "gpgcheck=1",
            f"gpgkey=file://{item.key}",
            "skip_if_unavailable=0",
            *_proxy_lines(packages.proxy),
            *([f"exclude={item.exclude}"] if item.exclude else []),
            "",
        ]
    return "\n".join(lines)


def signing_keys(release: Release) -> tuple[str, ...]:
    """Return the paths of the keys that the release's package brings, each once."""
    found = (item.key for item in releases.repositories(release) if item.sig)
    return tuple(dict.fromkeys(found))


def release_repositories(release: Release) -> tuple[str, ...]:
    """Return the ids of the repositories that can be used before the release's package is there."""
    return tuple(item.repo_id for item in releases.repositories(release) if not item.sig)


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

"""Which package repositories answer, seen from this host."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from labkit.host import http
from labkit.packstack.prepare import package_source
from labkit.packstack.repositories import candidates, proxy_url, without_password

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.host.http import HttpAnswer
    from labkit.lab.topology import Release, Repositories, ResolvedLab
    from labkit.packstack.repositories import RepositoryAtPlace

SECONDS = 20.0
MAX_REDIRECTIONS = 5
# Said of what a stand-in box serves to its own node alone, where no host can ask.
IN_THE_BOX = "in the box itself, not asked"
HTTP_OK, HTTP_REDIRECT, HTTP_BAD = 200, 300, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryAnswer:
    """What one repository at one place answered.

    Attributes:
        place: The place of its release tree, as it may be shown.
        repository: Its name.
        url: The URL of its repomd.xml, as it may be shown.
        usable: Whether a node could use it.
        said: What came back, in a few words.
        seconds: How long that took.
    """

    place: str
    repository: str
    url: str
    usable: bool
    said: str
    seconds: float


def ask_for(lab: ResolvedLab) -> tuple[RepositoryAnswer, ...]:
    """Ask every repository the lab's nodes would use; those a stand-in box brings count as usable.

    Raises:
        UsageError: There is no such box.
    """
    source = package_source(lab)
    if source == lab.repositories:
        return ask_all(source, lab.release)
    return tuple(
        RepositoryAnswer(
            place=place.shown,
            repository=item.repository.name,
            url=item.repomd,
            usable=True,
            said=IN_THE_BOX,
            seconds=0.0,
        )
        for place in candidates(source, lab.release)
        for item in place.sources
    )


def ask_all(
    wanted: Repositories, release: Release, *, seconds: float = SECONDS
) -> tuple[RepositoryAnswer, ...]:
    """Ask every repository at every place, side by side, in the order they are tried.

    Args:
        wanted: The lab's.
        release: The release of OpenStack that is to be installed.
        seconds: How long to wait for one answer.
    """
    asked = [(place, source) for place in candidates(wanted, release) for source in place.sources]
    proxy = proxy_url(wanted.proxy) or None

    def ask(source: RepositoryAtPlace) -> tuple[HttpAnswer, str]:
        return _follow(source.repomd, proxy=proxy, seconds=seconds)

    with ThreadPoolExecutor(max_workers=len(asked)) as pool:
        answers = list(pool.map(ask, [source for _place, source in asked]))
    return tuple(
        RepositoryAnswer(
            place=place.shown,
            repository=source.repository.name,
            url=without_password(source.repomd),
            usable=not problem,
            said=problem or "ok",
            seconds=answer.seconds,
        )
        for (place, source), (answer, problem) in zip(asked, answers, strict=True)
    )


def chosen_place(answers: Sequence[RepositoryAnswer]) -> str | None:
    """Return the first place that has everything: the one the nodes will take."""
    places = dict.fromkeys(answer.place for answer in answers)
    for place in places:
        if all(answer.usable for answer in answers if answer.place == place):
            return place
    return None


def nothing_answers(answers: Sequence[RepositoryAnswer]) -> bool:
    """Return whether not a single server answered: then it is the network, not a repository."""
    return all(answer.said.startswith("no answer") for answer in answers)


def problem(url: str, answer: HttpAnswer) -> str:
    """Return why a node could not use what came back; empty when it could.

    labkit-prepare judges the same in the guest. CentOS 7's yum does not follow a redirection from
    http to https, which the vault sends now and then.
    """
    if answer.status is None:
        return f"no answer: {answer.error}"
    if HTTP_REDIRECT <= answer.status < HTTP_BAD:
        target = without_password(urljoin(url, answer.location))
        return f"{answer.status} to {target}, which yum does not follow"
    if answer.status != HTTP_OK:
        return f"answered {answer.status}"
    return "" if b"<repomd" in answer.body else "answered something that is no repomd.xml"


def _follow(url: str, *, proxy: str | None, seconds: float) -> tuple[HttpAnswer, str]:
    answer = http.ask(url, proxy=proxy, timeout=seconds)
    for _ in range(MAX_REDIRECTIONS):
        target = urljoin(url, answer.location) if answer.location else ""
        if not target or urlsplit(target).scheme != urlsplit(url).scheme:
            break
        url = target
        answer = http.ask(url, proxy=proxy, timeout=seconds)
    return answer, problem(url, answer)

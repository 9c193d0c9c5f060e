"""Which package repositories answer, seen from this host."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from labkit.host import http
from labkit.lab import releases
from labkit.packstack import metadata
from labkit.packstack.prepare import package_source
from labkit.packstack.repositories import candidates, proxy_url, without_password

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.host.http import HttpAnswer
    from labkit.lab.topology import Release, Repositories
    from labkit.packstack.repositories import Candidate, RepositoryAtPlace
    from labkit.state.session import Session

SECONDS = 20.0
MAX_REDIRECTIONS = 5
# Stands in the place of a repository's name.
PACKAGE = "release package"
# Said of what a stand-in box serves to its own node alone, where no host can ask.
IN_THE_BOX = "in the box itself, not asked"
HTTP_OK, HTTP_REDIRECT, HTTP_BAD = 200, 300, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryAnswer:
    """What one repository at one place answered, or what it lists.

    Attributes:
        place: The place of its release tree, as it may be shown.
        repository: Its name, or PACKAGE.
        url: The URL that was asked last, as it may be shown.
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


def ask_for(session: Session) -> tuple[RepositoryAnswer, ...]:
    """Ask every repository the lab's nodes would use; those a stand-in box brings count as usable.

    Raises:
        UsageError: There is no such box.
    """
    lab, source = session.lab, package_source(session)
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
    places = candidates(wanted, release)
    asked = [(place, source) for place in places for source in place.sources]
    proxy = proxy_url(wanted.proxy) or None

    def ask(where: tuple[Candidate, RepositoryAtPlace]) -> tuple[str, HttpAnswer]:
        return _follow(where[1].repomd, proxy=proxy, seconds=seconds)

    def look(place: Candidate) -> RepositoryAnswer:
        package = releases.facts(release).package
        index = indexes[place, place.extras].result()
        return _look(place, index, package, proxy=proxy, seconds=seconds)

    # A thread for each, so that none waits for one that has not begun.
    with ThreadPoolExecutor(max_workers=len(asked) + len(places)) as pool:
        indexes = {where: pool.submit(ask, where) for where in asked}
        listed = pool.map(look, [] if wanted.keys else places)
        answers = [_judged(*where, *index.result()) for where, index in indexes.items()]
        answers += listed
    shown = dict.fromkeys(place.shown for place in places)
    return tuple(answer for place in shown for answer in answers if answer.place == place)


def _judged(
    place: Candidate, source: RepositoryAtPlace, url: str, answer: HttpAnswer
) -> RepositoryAnswer:
    said = problem(url, answer)
    return _answer(place, source.repository.name, source.repomd, said, answer.seconds)


def _look(
    place: Candidate,
    asked: tuple[str, HttpAnswer],
    package: str,
    *,
    proxy: str | None,
    seconds: float,
) -> RepositoryAnswer:
    """Look for the release's package in what extras, whose index came back, lists at a place."""
    url, took = place.extras.repomd, 0.0
    last, index = asked
    said = problem(last, index)
    path = None if said else metadata.package_list(index.body)
    if path:
        url = f"{place.extras.url}{path}"
        limit = metadata.MAX_PACKED_BYTES + 1
        last, answer = _follow(url, proxy=proxy, seconds=seconds, limit=limit)
        said, took = _refusal(last, answer), answer.seconds
        try:
            if not said and not metadata.has_package(answer.body, path, package):
                said = f"extras does not list '{package}'"
        except ValueError as exc:
            said = f"extras' list of packages {exc}"
    elif not said:
        said = "extras' repomd.xml names no list of packages"
    return _answer(place, PACKAGE, url, said, index.seconds + took)


def _answer(place: Candidate, name: str, url: str, said: str, seconds: float) -> RepositoryAnswer:
    return RepositoryAnswer(
        place=place.shown,
        repository=name,
        url=without_password(url),
        usable=not said,
        said=said or "ok",
        seconds=seconds,
    )


def chosen_place(answers: Sequence[RepositoryAnswer]) -> str | None:
    """Return the first place that has every repository: the one the nodes will take."""
    for place in dict.fromkeys(answer.place for answer in answers):
        here = [each for each in answers if each.place == place and each.repository != PACKAGE]
        if all(answer.usable for answer in here):
            return place
    return None


def lacks_package(answers: Sequence[RepositoryAnswer], place: str) -> bool:
    """Return whether a place does not list the release's package."""
    return any(
        each.place == place and each.repository == PACKAGE and not each.usable for each in answers
    )


def nothing_answers(answers: Sequence[RepositoryAnswer]) -> bool:
    """Return whether not a single server answered: then it is the network, not a repository."""
    return all(answer.said.startswith("no answer") for answer in answers)


def problem(url: str, answer: HttpAnswer) -> str:
    """Return why a node could not use what came back; empty when it could.

    labkit-prepare judges the same in the guest. CentOS 7's yum does not follow a redirection from
    http to https, which the vault sends now and then.
    """
    refusal = _refusal(url, answer)
    if refusal or b"<repomd" in answer.body:
        return refusal
    return "answered something that is no repomd.xml"


def _refusal(url: str, answer: HttpAnswer) -> str:
    if answer.status is None:
        return f"no answer: {answer.error}"
    if HTTP_REDIRECT <= answer.status < HTTP_BAD:
        target = without_password(urljoin(url, answer.location))
        return f"{answer.status} to {target}, which yum does not follow"
    return "" if answer.status == HTTP_OK else f"answered {answer.status}"


def _follow(
    url: str, *, proxy: str | None, seconds: float, limit: int = http.LIMIT_BYTES
) -> tuple[str, HttpAnswer]:
    """Return what came back in the end, and from where."""
    answer = http.ask(url, proxy=proxy, timeout=seconds, limit=limit)
    for _ in range(MAX_REDIRECTIONS):
        target = urljoin(url, answer.location) if answer.location else ""
        if not target or urlsplit(target).scheme != urlsplit(url).scheme:
            break
        url = target
        answer = http.ask(url, proxy=proxy, timeout=seconds, limit=limit)
    return url, answer

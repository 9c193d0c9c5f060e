"""The `labkit doctor` verb."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.documents import print_judged
from labkit.cli.options import LAB_FILE, BoxOption, JsonOption, LabOption
from labkit.cli.output import notice, print_table
from labkit.cli.session import looking
from labkit.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labkit.lifecycle.repositories import RepositoryAnswer


def doctor(
    *,
    lab: LabOption = LAB_FILE,
    box: BoxOption = None,
    repos: Annotated[
        bool, typer.Option("--repos", help="Ask the package repositories instead of the host.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether this host can run the lab, and what mends it where it cannot; change nothing."""
    if repos:
        _repos(lab, box, as_json=as_json)
    else:
        _host(lab, box, as_json=as_json)


def _host(lab: Path, box: str | None, *, as_json: bool) -> None:
    from labkit.host.files import cache_root
    from labkit.lifecycle.doctor import Level, examine

    findings = examine(looking(lab, box=box), cache_root())
    bad = [finding.check for finding in findings if finding.level is Level.PROBLEM]
    message = f"This host cannot run the lab yet: {', '.join(bad)}."
    error = HostError(message, hint="Each problem above says what mends it.") if bad else None
    if as_json:
        print_judged({"findings": [asdict(finding) for finding in findings]}, error)
        return
    rows = [
        (each.level.value, each.check.replace("_", " "), f"{each.found}\n{each.fix}".rstrip())
        for each in findings
    ]
    print_table(("", "check", "found, and what mends it"), rows)
    if error is not None:
        raise error


def _repos(lab: Path, box: str | None, *, as_json: bool) -> None:
    from labkit.lifecycle.repositories import ask_for, chosen_place
    from labkit.packstack.prepare import key_texts

    session = looking(lab, box=box)
    key_texts(session.lab, session.lab_file.parent)
    answers = ask_for(session)
    place = chosen_place(answers)
    error = _unfit(answers, place)
    if as_json:
        data = {"chosen": place, "repositories": [asdict(answer) for answer in answers]}
        print_judged(data, error)
        return
    rows = [(each.place, each.repository, each.said, f"{each.seconds:.1f}") for each in answers]
    print_table(("place", "repository", "answer", "seconds"), rows)
    if place is not None:
        notice(f"nodes take their packages from {place}")
    if error is not None:
        raise error


def _unfit(answers: Sequence[RepositoryAnswer], place: str | None) -> HostError | None:
    """Return what keeps nodes from getting their packages; None when nothing does."""
    from labkit.lifecycle.repositories import lacks_package, nothing_answers

    if place is not None and not lacks_package(answers, place):
        return None
    if place is not None:
        message = "The place that nodes take lacks the package that brings the signing keys."
        hint = "Name files with the keys in 'repos.keys' of lab.yaml, or set 'repos.base' to a mirror that has it."
    elif nothing_answers(answers):
        message = "Not a single server answers: this host has no way to the package repositories."
        hint = "Look at the host's network and name servers, or set 'repos.proxy' in lab.yaml."
    else:
        message = "No place has every repository that the nodes need."
        hint = "Set 'repos.base' in lab.yaml to a mirror that has them, or another 'release'."
    return HostError(message, hint=hint)

"""The `labkit doctor` verb."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.options import LAB_FILE, BoxOption, JsonOption, LabOption, print_json
from labkit.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labkit.lifecycle.doctor import Finding
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
    from labkit.cli.session import looking
    from labkit.host.files import cache_root
    from labkit.lifecycle.doctor import Level, examine

    findings = examine(looking(lab, box=box), cache_root())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print_findings(findings)
    bad = [finding.check for finding in findings if finding.level is Level.PROBLEM]
    if bad:
        message = f"This host cannot run the lab yet: {', '.join(bad)}."
        raise HostError(message, hint="Each problem above says what mends it.")


def _print_findings(findings: Sequence[Finding]) -> None:
    from labkit.cli.output import print_table

    rows = [
        (
            finding.level.value,
            finding.check.replace("_", " "),
            f"{finding.found}\n{finding.fix}".rstrip(),
        )
        for finding in findings
    ]
    print_table(("", "check", "found, and what mends it"), rows)


def _repos(lab: Path, box: str | None, *, as_json: bool) -> None:
    from labkit.cli.session import looking
    from labkit.lifecycle.repositories import ask_for, chosen_place, nothing_answers

    answers = ask_for(looking(lab, box=box).lab)
    place = chosen_place(answers)
    if as_json:
        print_json({"chosen": place, "repositories": [asdict(answer) for answer in answers]})
    else:
        _print_answers(answers, place)
    if place is not None:
        return
    if nothing_answers(answers):
        message = "Not a single server answers: this host has no way to the package repositories."
        hint = "Look at the host's network and name servers, or set 'repos.proxy' in lab.yaml."
    else:
        message = "No place has every repository that the nodes need."
        hint = "Set 'repos.base' in lab.yaml to a mirror that has them, or another 'release'."
    raise HostError(message, hint=hint)


def _print_answers(answers: Sequence[RepositoryAnswer], place: str | None) -> None:
    from labkit.cli.output import notice, print_table

    rows = [
        (answer.place, answer.repository, answer.said, f"{answer.seconds:.1f}")
        for answer in answers
    ]
    print_table(("place", "repository", "answer", "seconds"), rows)
    if place is not None:
        notice(f"nodes take their packages from {place}")

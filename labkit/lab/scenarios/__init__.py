"""The scenarios: which there are, and how Packstack is called for one. One module each."""

from __future__ import annotations

import pkgutil
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from labkit.errors import OperationError, UsageError
from labkit.lab import answers, options
from labkit.lab.scenario import (
    ANSWER_FILE,
    PACKSTACK,
    PackstackCall,
    Scenario,
)
from labkit.lab.topology import Form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.lab.topology import ResolvedLab


@cache
def all_scenarios() -> tuple[Scenario, ...]:
    """Return every scenario, by name: each module beside this one has one."""
    modules = (import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    found: list[Scenario] = [module.SCENARIO for module in modules]
    return tuple(sorted(found, key=lambda each: each.name))


def names() -> tuple[str, ...]:
    """Return the scenarios' names, sorted."""
    return tuple(each.name for each in all_scenarios())


def deployable() -> tuple[str, ...]:
    """Return the names that `deployment.scenario` may have."""
    return tuple(each.name for each in all_scenarios() if each.forms)


def close_name(name: str) -> str | None:
    """Return the scenario that somebody who wrote an unknown one may have meant, or None."""
    return next(iter(get_close_matches(name.replace("_", "-"), names(), n=1)), None)


def find(name: str) -> Scenario:
    """Return a scenario.

    Raises:
        UsageError: There is none of that name; names the ones there are.
    """
    found = next((each for each in all_scenarios() if each.name == name), None)
    if found is not None:
        return found
    guess = close_name(name)
    meant = f" Did you mean '{guess}'?" if guess else ""
    known = ", ".join(f"'{each}'" for each in names())
    message = f"There is no scenario '{name}'; labkit knows {known}.{meant}"
    raise UsageError(message, hint="Run 'labkit scenarios' to see what each does.")


def call(lab: ResolvedLab, passwords: Mapping[str, str]) -> PackstackCall:
    """Return how Packstack is called for a lab the first time.

    Args:
        lab: A lab without `obstacles`.
        passwords: Every secret Packstack would make up (`passwords.complete`), for the answer
            file; Packstack makes them up itself where it is told everything by options.
    """
    scenario = find(lab.deployment.scenario)
    if lab.deployment.form is Form.COMMAND:
        return _by_command(lab, scenario)
    return _by_answer_file(lab, passwords)


def rerun(
    lab: ResolvedLab, existing: str, passwords: Mapping[str, str] | None = None
) -> PackstackCall:
    """Return how Packstack is called for a lab it was run in before, in whichever form.

    Every secret of the answer file that Packstack left stays; all other keys are set as the lab
    file asks for now, so that nodes can come and go.

    Args:
        lab: The lab as it is to be.
        existing: The text of the answer file that the earlier run left.
        passwords: Secrets for those that the file does not know yet.

    Raises:
        OperationError: The text is no answer file of a run.
    """
    found = answers.parse(existing)
    if not found.get("CONFIG_CONTROLLER_HOST"):
        message = (
            "An answer file of an earlier Packstack run was expected, and one without "
            "CONFIG_CONTROLLER_HOST was found; its passwords are needed for another run."
        )
        raise OperationError(
            message,
            hint=f"Put '{ANSWER_FILE}' of the controller in order, or deploy into a new lab.",
        )
    return _by_answer_file(lab, {**(passwords or {}), **answers.secrets_of(found)})


def changed_by_hand(lab: ResolvedLab, existing: str) -> tuple[str, ...]:
    """Return the keys of an answer file that neither the lab file nor Packstack's defaults explain.

    `rerun` does not keep them. Host keys and secrets are not among them: the former follow the
    nodes, the latter stay.

    Args:
        lab: The lab.
        existing: The text of the answer file that the earlier run left.
    """
    wanted = effective(lab)
    passed_over = {*answers.HOST_KEYS, *options.secret_keys()}
    found = answers.parse(existing)
    return tuple(
        option.key
        for option in options.options(lab.release)
        if option.key in found
        and option.key not in passed_over
        # Packstack fills these in by itself, or writes another spelling of the same.
        and "<" not in option.default
        and not option.processors
        and found[option.key] not in {wanted[option.key], option.default}
    )


def effective(lab: ResolvedLab) -> Mapping[str, str]:
    """Return every answer of a lab: Packstack's defaults, the scenario's, `deployment.answers`."""
    return {
        **{option.key: option.default for option in options.options(lab.release)},
        **find(lab.deployment.scenario).answers(lab),
        **dict(lab.deployment.answers),
    }


def _by_answer_file(lab: ResolvedLab, secrets: Mapping[str, str]) -> PackstackCall:
    asked = dict(lab.deployment.answers)
    # Once a lab has its secrets they are what is installed, whatever its file says by now; the
    # default password has been made each of them by then.
    asked.pop(options.DEFAULT_PASSWORD, None)
    wanted = {**find(lab.deployment.scenario).answers(lab), **asked, **_random(secrets)}
    masked = {key: value for key, value in secrets.items() if key not in wanted}
    text = answers.render({**masked, **wanted}, asked=frozenset(asked), release=lab.release)
    return PackstackCall(argv=(PACKSTACK, f"--answer-file={ANSWER_FILE}"), answer_file=text)


def _random(secrets: Mapping[str, str]) -> dict[str, str]:
    made = {option.key for option in options.options() if option.random}
    return {key: value for key, value in secrets.items() if key in made}


def _by_command(lab: ResolvedLab, scenario: Scenario) -> PackstackCall:
    words = [PACKSTACK]
    for name, value in {**scenario.command(lab), **dict(lab.deployment.answers)}.items():
        option = options.find(name, lab.release)
        flag = option.cli if option else name
        if option and (not option.cli or option.masked or not value):
            # The lab file's rules say so with a line and column.
            message = f"The scenario '{scenario.name}' cannot set '{name}' on a command line."
            raise UsageError(message, hint="Set 'deployment.form' to answer-file.")
        words.append(f"{flag}={value}" if value else flag)
    return PackstackCall(argv=tuple(words), answer_file=None)

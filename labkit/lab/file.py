"""Reads lab.yaml: every problem at once, each with its line and column."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from labkit.box_places import box_places
from labkit.lab import masking, options, signing_keys, yaml
from labkit.lab.deployment_rules import deployment_breaches
from labkit.lab.model import Deployment, Dns, Lab, Network, Nic, Node, Part, Repos
from labkit.lab.partial import keys_at, model_at, readable
from labkit.lab.rules import box_breaches, breaches, judge
from labkit.lab.scenarios import all_scenarios
from labkit.lab.topology import Release
from labkit.lab.types import Role
from labkit.lab.yaml import Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from labkit.box_places import BoxPlaces
    from labkit.lab.yaml import Document, Place

SCHEMA_ID = "urn:labkit:lab.yaml"
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# How each mapping looks, and a name for it where that is the user's choice.
EXAMPLES: Mapping[type[Part], str] = {
    Dns: "domain: packstack.test",
    Network: "mode: nat, …",
    Node: "roles: [compute], …",
    Nic: "network: lan, address: 172.16.208.39",
    Deployment: "scenario: multinode",
    Repos: "base: https://vault.centos.org",
}
NAMES: Mapping[type[Part], str] = {Network: "lan", Node: "compute", Nic: "enp0s3"}
# What other tools call it, where no likeness of the words would tell.
FOREIGN = {
    **dict.fromkeys(("ip", "ipaddr", "ip_address", "ipv4"), "address"),
    **dict.fromkeys(("ram", "mem"), "memory"),
    **dict.fromkeys(("cpu", "cores", "vcpu"), "cpus"),
    **dict.fromkeys(("interfaces", "cards", "ports"), "nics"),
    **dict.fromkeys(("hosts", "vms", "machines", "servers"), "nodes"),
    **dict.fromkeys(("subnet", "range"), "cidr"),
    **dict.fromkeys(("image", "template"), "box"),
    **dict.fromkeys(("search", "domainname"), "domain"),
    **dict.fromkeys(("nameservers", "resolvers"), "servers"),
    **dict.fromkeys(("size", "storage"), "disk"),
    "type": "mode",
    "router": "gateway",
    "groups": "roles",
}
# What other tools write for several nodes that are alike.
ALIKE = frozenset({"count", "replicas", "instances", "number"})


def load(path: Path) -> Lab:
    """Read and check a lab file; a box beside it is known as those of labkit are.

    Args:
        path: The file; messages name it as it is given here.

    Raises:
        LabFileError: It cannot be read, or has problems; `details` lists all of them as
            `file:LINE:COL: path: expected …, found …`, in file order.
    """
    document = yaml.read(path)
    lab, problems = check(document, boxes=box_places(path.parent))
    if lab is None or problems:
        raise yaml.failure(str(path), problems)
    return lab


def check(
    document: Document, *, boxes: BoxPlaces | None = None
) -> tuple[Lab | None, list[Problem]]:
    """Return the lab a document describes, and everything that is wrong with the document.

    What follows from another problem is not one: neither a key that is missing because it is
    misspelt nor a rule broken by a value that is wrong by itself.

    Args:
        document: The file.
        boxes: The boxes it may name; labkit's own when not given.
    """
    lab: Lab | None = None
    problems = [_discreet(problem) for problem in document.problems]
    causes = {problem.place for problem in problems}
    try:
        lab = Lab.model_validate(document.data)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        causes |= {meant for error in errors if (meant := _misspelt(error, document))}
        wrong = causes | {_place(error) for error in errors}
        problems += [
            _problem(error, document) for error in errors if not _follows(error, causes, wrong)
        ]
        causes = wrong
    judged = lab if lab is not None and not causes else readable(document, causes)
    problems += [
        Problem(
            position=(
                _key_position(document, breach.place)
                if breach.about_key
                else _value_position(document, breach.place)
            ),
            place=breach.place,
            expected=breach.expected,
            found=masking.anything(breach.found),
        )
        for breach in (
            *judge(box_breaches, judged, boxes or box_places()),
            *breaches(judged),
            *judge(signing_keys.breaches, judged),
            *judge(deployment_breaches, judged),
        )
        if causes.isdisjoint({breach.place, *breach.rests_on})
    ]
    return lab, problems


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of lab.yaml, with the names of scenarios and of answer-file keys."""
    head = {"$schema": SCHEMA_DIALECT, "$id": SCHEMA_ID, "title": "lab.yaml"}
    schema: dict[str, Any] = {**head, **_tidied(Lab.model_json_schema())}
    deployment = schema["$defs"]["Deployment"]["properties"]
    deployment["scenario"]["enum"] = [scenario.name for scenario in all_scenarios()]
    keys = {option.key for release in Release for option in options.options(release)}
    deployment["answers"]["propertyNames"] = {"enum": sorted(keys)}
    return schema


def _tidied(part: Any) -> Any:  # noqa: ANN401 -- JSON has no narrower type
    """Drop what pydantic adds and lab.yaml does not mean.

    That is titles made up from key names, and null: an optional key is left out, never empty.
    """
    if isinstance(part, list):
        return [_tidied(item) for item in part]
    if not isinstance(part, dict):
        return part
    if "patternProperties" in part:
        part = {**part, "additionalProperties": False}
    choices = [item for item in part.get("anyOf", []) if item != {"type": "null"}]
    if len(choices) == 1:
        part = {**choices[0], **{key: item for key, item in part.items() if key != "anyOf"}}
    return {
        key: (
            {name: _tidied(value) for name, value in item.items()}
            if key in {"properties", "$defs"}
            else _tidied(item)
        )
        for key, item in part.items()
        if key != "title" and item is not None
    }


def _place(error: ErrorDetails) -> Place:
    """Return the place an error is about; pydantic marks a wrong key by a trailing '[key]'."""
    place = error["loc"]
    return place[:-1] if place and place[-1] == "[key]" else place


def _problem(error: ErrorDetails, document: Document) -> Problem:
    place = _place(error)
    is_key = error["loc"] != place or error["type"] == "extra_forbidden"
    expected, found = _phrases(error, place, document)
    if error["type"] == "missing":
        position = _key_position(document, place[:-1])
    elif is_key:
        position = _key_position(document, place)
    else:
        position = _value_position(document, place)
    return Problem(position=position, place=place, expected=expected, found=found)


def _phrases(error: ErrorDetails, place: Place, document: Document) -> tuple[str, str]:
    context = error.get("ctx", {})
    written = document.written.get(place, "nothing")
    if _secret_at(place) and written not in {"a mapping", "a list"}:
        written = "what may be a secret"
    phrases: tuple[str, str]
    match error["type"]:
        case "unexpected":
            found = f"'{place[-1]}'" if error["loc"] != place else written
            phrases = str(context["expected"]), found
        case "missing":
            phrases = f"the key '{place[-1]}'", "no such key"
        case "extra_forbidden":
            phrases = _unknown_key(place)
        case "model_type" | "mapping_type" | "dict_type":
            phrases = _mapping_at(place), written
        case "tuple_type":
            phrases = _list_at(place, written), written
        case "too_short":
            phrases = "at least one entry", "none"
        case "too_long":
            phrases = f"at most {context['max_length']} entries", str(context["actual_length"])
        case _:
            # Every leaf of the model has its own phrase; this is for a pydantic to come.
            phrases = f"another value ({error['msg']})", written
    return phrases


def _mapping_at(place: Place) -> str:
    """Return how the mapping at a place is written, by an example of its own."""
    model, entries = model_at(place), model_at((*place, "*"))
    example = EXAMPLES.get(model, "key: value") if model else "key: value"
    if entries is not None:
        example = f"{NAMES[entries]}: {{{EXAMPLES[entries]}}}"
    return f"a mapping ('{example}')"


def _list_at(place: Place, written: str) -> str:
    if place[-1] != "roles":
        return "a list ('[a, b]')"
    alone = written.strip("'").lower()
    return f"a list ('[{alone if alone in set(Role) else 'controller, network'}]')"


def _unknown_key(place: Place) -> tuple[str, str]:
    if model_at(place[:-1]) is Node and place[-1] in ALIKE:
        expected = (
            "each node written out, as each has a name and addresses of its own ('labkit init "
            "--computes N' writes N of them)"
        )
        return expected, f"the unknown key '{place[-1]}'"
    guess = _guess(place)
    meant = f" (did you mean '{guess}'?)" if guess else ""
    names = ", ".join(f"'{name}'" for name in keys_at(place[:-1]))
    return f"one of {names}", f"the unknown key '{place[-1]}'{meant}"


def _secret_at(place: Place) -> Place | None:
    """Return the place of the value that a place is in, when nobody may see it; else None."""
    if place[:2] != ("deployment", "answers"):
        return None
    option = options.find(str(place[2])) if len(place) > 2 else None  # noqa: PLR2004 -- a key of it
    return place[:3] if option is None or option.secret else None


def _discreet(problem: Problem) -> Problem:
    """Return a problem inside of what may be a secret as one of the whole."""
    secret = _secret_at(problem.place)
    # In {CONFIG_A: ,text} the text is a key, for YAML.
    known = len(problem.place) < 3 or options.find(str(problem.place[2])) is not None  # noqa: PLR2004 -- a key of it
    if secret is None or (secret == problem.place and known):
        return problem
    place = problem.place[: 3 if known else 2]
    return replace(problem, place=place, found="what may be a secret")


def _guess(place: Place) -> str | None:
    keys = keys_at(place[:-1])
    meant = FOREIGN.get(str(place[-1]).lower())
    if meant in keys:
        return meant
    return next(iter(get_close_matches(str(place[-1]).lower(), keys, n=1)), None)


def _misspelt(error: ErrorDetails, document: Document) -> Place | None:
    """Return the place an unknown key stands for, unless that key is in the file as well."""
    place = error["loc"]
    guess = _guess(place) if error["type"] == "extra_forbidden" else None
    meant = (*place[:-1], guess or "")
    return meant if guess and meant not in document.keys else None


def _follows(error: ErrorDetails, causes: Container[Place], wrong: Iterable[Place]) -> bool:
    """Return whether an error is there because of another one."""
    place = _place(error)
    if error["type"] == "too_short":  # entries that are wrong are not counted
        return place in causes or any(each[: len(place)] == place != each for each in wrong)
    return place in causes


def _key_position(document: Document, place: Place) -> yaml.Position:
    while place not in document.keys:
        place = place[:-1]
    return document.keys[place]


def _value_position(document: Document, place: Place) -> yaml.Position:
    while place not in document.values:
        place = place[:-1]
    return document.values[place]

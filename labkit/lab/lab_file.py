"""Reads lab.yaml: every problem at once, each with its line and column."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from labkit.lab import yaml_file as yamlfile
from labkit.lab.deployment_rules import deployment_breaches
from labkit.lab.model import Deployment, Dns, Edge, Lab, Network, Nic, Node, Repos
from labkit.lab.rules import breaches
from labkit.lab.yaml_file import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from labkit.lab.yaml_file import Document, Place

# Which model describes the mapping at a place; '*' stands for a name of the user's choice.
MODELS: Mapping[Place, type[Edge]] = {
    (): Lab,
    ("dns",): Dns,
    ("networks", "*"): Network,
    ("nodes", "*"): Node,
    ("nodes", "*", "nics", "*"): Nic,
    ("deployment",): Deployment,
    ("repos",): Repos,
}
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def load(path: Path) -> Lab:
    """Read and check a lab file.

    Args:
        path: The file; messages name it as it is given here.

    Raises:
        LabFileError: It cannot be read, or has problems; `details` lists all of them as
            `file:LINE:COL: path: expected …, found …`, in file order.
    """
    document = yamlfile.read(path)
    lab, problems = check(document)
    if lab is None or problems:
        raise yamlfile.failure(str(path), problems)
    return lab


def check(document: Document) -> tuple[Lab | None, list[Problem]]:
    """Return the lab a document describes, and everything that is wrong with the document."""
    lab: Lab | None = None
    problems = list(document.problems)
    # A missing value has been reported where it is missing; pydantic sees a missing key.
    empty = {problem.place for problem in problems if problem.place not in document.written}
    try:
        lab = Lab.model_validate(document.data)
    except ValidationError as exc:
        problems.extend(
            _problem(error, document)
            for error in exc.errors(include_url=False, include_input=False)
            if _place(error) not in empty
        )
    # A value that is wrong by itself is not judged again by the rules.
    known = {problem.place for problem in problems}
    problems.extend(
        Problem(
            position=(
                _key_position(document, breach.place)
                if breach.about_key
                else _value_position(document, breach.place)
            ),
            place=breach.place,
            expected=breach.expected,
            found=breach.found,
        )
        for breach in (*breaches(document.data), *deployment_breaches(document.data))
        if breach.place not in known
    )
    return lab, problems


def schema() -> dict[str, Any]:
    """Return the JSON schema of lab.yaml."""
    return {"$schema": SCHEMA_DIALECT, "title": "lab.yaml", **_tidied(Lab.model_json_schema())}


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
    options = [item for item in part.get("anyOf", []) if item != {"type": "null"}]
    if len(options) == 1:
        part = {**options[0], **{key: item for key, item in part.items() if key != "anyOf"}}
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
    phrases: tuple[str, str]
    match error["type"]:
        case "unexpected":
            found = f"'{place[-1]}'" if error["loc"] != place else written
            phrases = str(context["expected"]), found
        case "missing":
            phrases = f"the key '{place[-1]}'", "no such key"
        case "extra_forbidden":
            phrases = _unknown_key(place)
        case "model_type" | "mapping_type":
            phrases = "a mapping ('key: value')", written
        case "tuple_type":
            phrases = "a list ('[a, b]')", written
        case "too_short":
            phrases = "at least one entry", "none"
        case "too_long":
            phrases = f"at most {context['max_length']} entries", "more"
        case _:
            # Every leaf of the model has its own phrase; this is for a pydantic to come.
            phrases = f"another value ({error['msg']})", written
    return phrases


def _unknown_key(place: Place) -> tuple[str, str]:
    fields = list(_fields(place[:-1]))
    key = str(place[-1])
    guess = get_close_matches(key.lower(), fields, n=1)
    meant = f" (did you mean '{guess[0]}'?)" if guess else ""
    names = ", ".join(f"'{name}'" for name in fields)
    return f"one of {names}", f"the unknown key '{key}'{meant}"


def _fields(place: Place) -> Iterator[str]:
    for pattern, model in MODELS.items():
        if len(pattern) == len(place) and all(
            want in {"*", part} for want, part in zip(pattern, place, strict=True)
        ):
            yield from model.model_fields


def _key_position(document: Document, place: Place) -> yamlfile.Position:
    while place not in document.keys:
        place = place[:-1]
    return document.keys[place]


def _value_position(document: Document, place: Place) -> yamlfile.Position:
    while place not in document.values:
        place = place[:-1]
    return document.values[place]

"""What can be read of a lab file with faults, so that the rules find its other faults at once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import TypeAdapter

from labkit.lab.model import Deployment, Dns, Lab, Network, Nic, Node, Part, Repos

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from labkit.lab.yaml import Document, Place, Plain

P = TypeVar("P", bound=Part)

# Which model describes the mapping at a place; '*' stands for a name of the user's choice.
MODELS: Mapping[Place, type[Part]] = {
    (): Lab,
    ("dns",): Dns,
    ("networks", "*"): Network,
    ("nodes", "*"): Node,
    ("nodes", "*", "nics", "*"): Nic,
    ("deployment",): Deployment,
    ("repos",): Repos,
}


def model_at(place: Place) -> type[Part] | None:
    """Return the model of the mapping at a place; None where a plain value or a choice of names is."""
    for pattern, model in MODELS.items():
        if len(pattern) == len(place) and all(
            want in {"*", part} for want, part in zip(pattern, place, strict=True)
        ):
            return model
    return None


def keys_at(place: Place) -> tuple[str, ...]:
    """Return the keys that the mapping at a place may have."""
    model = model_at(place)
    return tuple(model.model_fields) if model else ()


def readable(document: Document, faults: Collection[Place]) -> Lab:
    """Return the lab without its faults: a key with one raises `UnreadError`.

    Networks, nodes and cards are all there, under the names the file has for them.

    Args:
        document: The file.
        faults: Where its keys and values are wrong by themselves.
    """
    return _part(Lab, document, faults, (), document.data)


@cache
def _adapter(model: type[Part], name: str) -> TypeAdapter[object]:
    return TypeAdapter(model.model_fields[name].rebuild_annotation())


def _part(
    model: type[P], document: Document, faults: Collection[Place], place: Place, raw: Plain | None
) -> P:
    written = raw if isinstance(raw, dict) else {}
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        here = (*place, name)
        value = written.get(name)
        inner, entries = model_at(here), model_at((*here, "*"))
        if entries is not None and isinstance(value, dict):
            names = [each for each in document.keys if each[:-1] == here]
            values[name] = {
                str(each[-1]): _part(entries, document, faults, each, value.get(str(each[-1])))
                for each in names
            }
        elif here in faults or not isinstance(raw, dict):
            continue
        elif value is None:
            values[name] = field.get_default()
        elif inner is not None:
            values[name] = _part(inner, document, faults, here, value)
        elif isinstance(value, dict):
            sound = {key: each for key, each in value.items() if (*here, key) not in faults}
            values[name] = _adapter(model, name).validate_python(sound)
        elif not any(each[: len(here)] == here for each in faults):
            values[name] = _adapter(model, name).validate_python(value)
    # pydantic's mypy plugin takes it for the class that the type variable is bound to.
    part = cast("P", model.model_construct(set(written), **values))
    for name in model.model_fields.keys() - values.keys():
        part.__dict__.pop(name, None)
    return part

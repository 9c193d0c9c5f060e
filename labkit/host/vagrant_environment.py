"""What labkit's Vagrant sees of the user's environment: nothing but what this table lets through.

A variable of the user's shell, a Vagrantfile in the user's home or a plugin of the user's would
change a lab's machines, and `VAGRANT_DOTFILE_PATH` would let one lab destroy another's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROVIDER = "vagrant-libvirt"
_TABLE = "vagrant-environment.tsv"


class Treatment(StrEnum):
    """What becomes of a variable."""

    KEEP = "kept"
    SET = "set"
    CLEAR = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What becomes of a variable, or of all whose name begins alike.

    Attributes:
        name: The variable; a `*` at its end stands for every ending.
        treatment: Kept as the user has it, set by labkit, or cleared.
        reason: Why, for the reference page.
        value: What it is set to; empty unless it is set to the same everywhere.
    """

    name: str
    treatment: Treatment
    reason: str
    value: str = ""

    def covers(self, variable: str) -> bool:
        """Return whether the rule is about that variable."""
        if self.name.endswith("*"):
            return variable.startswith(self.name.removesuffix("*"))
        return variable == self.name


def rules() -> tuple[Rule, ...]:
    """Return the table beside this module; the first rule that covers a variable decides.

    What none covers is kept. Names and meanings are those of Vagrant 2.3.4 (lib/vagrant),
    vagrant-libvirt 0.11.2, fog-core (credentials.rb) and Ruby 3.1.
    """
    text = files(__package__).joinpath(_TABLE).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        Rule(
            name=name,
            treatment=Treatment(treatment),
            value="" if value == "-" else value,
            reason=reason,
        )
        for name, treatment, value, reason in rows
    )


def vagrant_environment(caller: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the whole environment of a Vagrant that labkit starts.

    Args:
        caller: labkit's own environment.
        home: The directory that is to be Vagrant's home; `provide_home` makes it.
    """
    table = rules()
    found = {
        name: value
        for name, value in caller.items()
        if next((rule.treatment for rule in table if rule.covers(name)), Treatment.KEEP)
        is Treatment.KEEP
    }
    found |= {rule.name: rule.value for rule in table if rule.treatment is Treatment.SET}
    found["VAGRANT_HOME"] = str(home)
    found["FOG_RC"] = str(home / "no-fog-credentials")
    return found


def users_home(caller: Mapping[str, str], home: Path) -> Path:
    """Return the user's own Vagrant home, where a provider may be installed as a plugin.

    Args:
        caller: labkit's own environment.
        home: The user's home directory.
    """
    chosen = caller.get("VAGRANT_HOME")
    return home / ".vagrant.d" if not chosen else home / chosen


def provide_home(home: Path, users: Path) -> None:
    """Make a Vagrant home in which nothing of the user's is but the libvirt provider.

    A provider that a distribution packages is found anywhere. One that was installed by `vagrant
    plugin install` lies in the user's home and is on record there (Vagrant 2.3.4,
    plugin/state_file.rb and bundler.rb): of that record this one plugin is taken over.

    Args:
        home: The home to make; once made it is left as it is, but for the plugin's record.
        users: The user's own home.

    Raises:
        OSError: It cannot be written.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    record, gems = home / "plugins.json", home / "gems"
    provider = _provider(users / "plugins.json")
    if provider is None:
        record.unlink(missing_ok=True)
        if gems.is_symlink():
            gems.unlink()
        return
    record.write_text(
        json.dumps({"version": "1", "installed": {PROVIDER: provider}}), encoding="utf-8"
    )
    if not gems.is_symlink() and not gems.exists():
        gems.symlink_to(users / "gems", target_is_directory=True)


def _provider(record: Path) -> object:
    """Return what Vagrant has on record of its libvirt provider; None when that is nothing."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    installed = known.get("installed") if isinstance(known, dict) else None
    return installed.get(PROVIDER) if isinstance(installed, dict) else None

"""What labkit's Vagrant sees of the user's environment: nothing but what this table lets through.

A variable of the user's shell, a Vagrantfile in the user's home or a plugin of the user's would
change a lab's machines, and `VAGRANT_DOTFILE_PATH` would let one lab destroy another's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROVIDER = "vagrant-libvirt"


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


# The first rule that covers a variable decides; what none covers is kept. Names and meanings as in
# Vagrant 2.3.4 (lib/vagrant), vagrant-libvirt 0.11.2, fog-core (credentials.rb) and Ruby 3.1.
RULES = (
    Rule(
        name="VAGRANT_HOME",
        treatment=Treatment.SET,
        reason="a directory of the lab's own: no Vagrantfile, box, alias or plugin of the user's",
    ),
    Rule(
        name="VAGRANT_DEFAULT_PROVIDER",
        treatment=Treatment.SET,
        value="libvirt",
        reason="the provider the Vagrantfile is written for",
    ),
    Rule(
        name="VAGRANT_CHECKPOINT_DISABLE",
        treatment=Treatment.SET,
        value="1",
        reason="no question to the network whether there is a newer Vagrant",
    ),
    Rule(
        name="VAGRANT_BOX_UPDATE_CHECK_DISABLE",
        treatment=Treatment.SET,
        value="1",
        reason="no question to the network whether there is a newer box",
    ),
    Rule(
        name="FOG_RC",
        treatment=Treatment.SET,
        reason="a file that does not exist: the user's ~/.fog names other hosts",
    ),
    Rule(
        name="LC_ALL",
        treatment=Treatment.SET,
        value="C.UTF-8",
        reason="vagrant-libvirt knows libvirt's errors by their English words",
    ),
    # Vagrant is a large program that runs for a second or two, and Ruby collects garbage all the
    # while it loads (docs/explanation/vagrant-and-libvirt.md has the figures).
    Rule(
        name="RUBY_GC_HEAP_INIT_SLOTS",
        treatment=Treatment.SET,
        value="600000",
        reason="about 24 MiB at the start: fewer collections while Vagrant loads",
    ),
    *(
        Rule(
            name=name,
            treatment=Treatment.SET,
            value=str(mib * 2**20),
            reason="fewer collections while Vagrant loads",
        )
        for name, mib in (
            ("RUBY_GC_MALLOC_LIMIT", 128),
            ("RUBY_GC_MALLOC_LIMIT_MAX", 256),
            ("RUBY_GC_OLDMALLOC_LIMIT", 128),
        )
    ),
    Rule(
        name="VAGRANT_LOG",
        treatment=Treatment.KEEP,
        reason="how much Vagrant writes into the lab's vagrant.log",
    ),
    Rule(
        name="VAGRANT_DOTFILE_PATH",
        treatment=Treatment.CLEAR,
        reason="one place for the machines of all labs: one lab would destroy another's",
    ),
    Rule(
        name="VAGRANT_CWD",
        treatment=Treatment.CLEAR,
        reason="another directory's Vagrantfile",
    ),
    Rule(
        name="VAGRANT_VAGRANTFILE",
        treatment=Treatment.CLEAR,
        reason="another name for the Vagrantfile",
    ),
    Rule(
        name="VAGRANT_NO_PLUGINS",
        treatment=Treatment.CLEAR,
        reason="no libvirt provider",
    ),
    Rule(
        name="VAGRANT_NO_PARALLEL",
        treatment=Treatment.CLEAR,
        reason="one node after the other",
    ),
    Rule(
        name="VAGRANT_*",
        treatment=Treatment.CLEAR,
        reason="every other setting of Vagrant's, those of later versions included",
    ),
    Rule(
        name="LIBVIRT_DEFAULT_URI",
        treatment=Treatment.CLEAR,
        reason="another host's libvirt than labkit talks to",
    ),
    Rule(
        name="FOG_*",
        treatment=Treatment.CLEAR,
        reason="other credentials, or fog's pretended libvirt",
    ),
    Rule(
        name="RUBY*",
        treatment=Treatment.CLEAR,
        reason="code and options for the user's own Ruby programs",
    ),
    Rule(
        name="GEM_*",
        treatment=Treatment.CLEAR,
        reason="gems for the user's own Ruby",
    ),
    Rule(
        name="BUNDLE*",
        treatment=Treatment.CLEAR,
        reason="the Gemfile of the user's project",
    ),
)


def vagrant_environment(caller: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the whole environment of a Vagrant that labkit starts.

    Args:
        caller: labkit's own environment.
        home: The directory that is to be Vagrant's home; `provide_home` makes it.
    """
    found = {name: value for name, value in caller.items() if _treatment(name) is Treatment.KEEP}
    found |= {rule.name: rule.value for rule in RULES if rule.treatment is Treatment.SET}
    found["VAGRANT_HOME"] = str(home)
    found["FOG_RC"] = str(home / "no-fog-credentials")
    return found


def _treatment(name: str) -> Treatment:
    return next((rule.treatment for rule in RULES if rule.covers(name)), Treatment.KEEP)


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

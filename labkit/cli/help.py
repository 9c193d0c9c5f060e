"""What `--help` adds to each verb: the group it stands in, and two examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typer.core import TyperCommand, TyperGroup
    from typer.models import CommandInfo

LAB_FILE, MACHINES, NODES, SNAPSHOTS, OPENSTACK, JOBS, HOST = (
    "The lab file",
    "The lab",
    "Into the nodes",
    "Snapshots",
    "OpenStack",
    "Whole jobs",
    "This host",
)
PAGE = "All of it: docs/reference/cli.md, or 'man labkit'."
# In the order of the groups.
HELP: Mapping[str, tuple[str, tuple[str, str]]] = {
    "init": (LAB_FILE, ("labkit init mylab --computes 2", "labkit init --bridge br0 --dry-run")),
    "validate": (LAB_FILE, ("labkit validate", "labkit validate --lab other.yaml")),
    "render": (LAB_FILE, ("labkit render preview", "labkit render preview --box rehearsal")),
    "graph": (LAB_FILE, ("labkit graph", "labkit graph --svg > lab.svg")),
    "schema": (LAB_FILE, ("labkit schema", "labkit schema > lab.schema.json")),
    "scenarios": (LAB_FILE, ("labkit scenarios", "labkit scenarios --json")),
    "up": (MACHINES, ("labkit up --box rehearsal", "labkit up --dry-run")),
    "status": (MACHINES, ("labkit status", "labkit status --json")),
    "halt": (MACHINES, ("labkit halt", "labkit halt compute --force")),
    "restart": (MACHINES, ("labkit restart compute", "labkit restart --dry-run")),
    "recreate": (MACHINES, ("labkit recreate compute", "labkit recreate compute --dry-run")),
    "destroy": (MACHINES, ("labkit destroy --dry-run", "labkit destroy --name mylab")),
    "ssh": (NODES, ("labkit ssh compute uptime", "labkit ssh -L 8080:localhost:80 controller")),
    "cp": (NODES, ("labkit cp a.txt controller:/tmp", "labkit cp -r compute:/var/log logs")),
    "console": (NODES, ("labkit console compute", "labkit console --log compute")),
    "ssh-config": (NODES, ("labkit ssh-config", "labkit ssh-config > lab.ssh")),
    "inventory": (NODES, ("labkit inventory", "labkit inventory > inventory.yaml")),
    "snapshot": (
        SNAPSHOTS,
        ("labkit snapshot base --note 'before the test'", "labkit snapshot --delete base"),
    ),
    "snapshots": (SNAPSHOTS, ("labkit snapshots", "labkit snapshots --json")),
    "restore": (SNAPSHOTS, ("labkit restore base", "labkit restore base --dry-run")),
    "deploy": (OPENSTACK, ("labkit deploy", "labkit deploy --detach")),
    "add-compute": (
        OPENSTACK,
        ("labkit add-compute compute2", "labkit add-compute compute2 --dry-run"),
    ),
    "verify": (OPENSTACK, ("labkit verify --junit verify.xml", "labkit verify --from outputs")),
    "logs": (OPENSTACK, ("labkit logs deploy -f", "labkit logs prepare --node compute")),
    "explain": (OPENSTACK, ("labkit explain openstack-setup.log", "labkit explain - --json")),
    "open": (OPENSTACK, ("labkit open", "labkit open --lab other.yaml")),
    "openstack": (OPENSTACK, ("labkit openstack server list", "labkit openstack")),
    "run": (JOBS, ("labkit run --junit lab.xml --destroy", "labkit run --timeout 1h30m")),
    "rehearsal": (JOBS, ("labkit rehearsal", "labkit rehearsal --report figures.json")),
    "sandbox": (JOBS, ("labkit sandbox", "labkit sandbox -- labkit rehearsal")),
    "doctor": (HOST, ("labkit doctor", "labkit doctor --repos")),
    "sweep": (HOST, ("labkit sweep --dry-run", "labkit sweep --orphans")),
    "box build": (HOST, ("labkit box build rehearsal", "labkit box build centos7 --iso c7.iso")),
    "box render": (HOST, ("labkit box render centos7 preview", "labkit box render centos7 k")),
    "box why": (HOST, ("labkit box why rehearsal", "labkit box why centos7 --json")),
    "box list": (HOST, ("labkit box list", "labkit box list --json")),
    "box verify": (HOST, ("labkit box verify rehearsal", "labkit box verify centos7")),
    "box remove": (HOST, ("labkit box remove rehearsal", "labkit box remove centos7")),
}


def describe(commands: list[CommandInfo], *, prefix: str = "") -> None:
    """Give each of these verbs its group and examples, and put them into the order of the groups.

    A test sees to it that every verb has them.
    """
    for command in commands:
        group, examples = HELP.get(f"{prefix}{_word(command)}", (None, ()))
        if group is not None:
            command.rich_help_panel = None if prefix else group
            command.epilog = "\n\n".join(("Examples:", *examples, PAGE))
    places = {word: place for place, word in enumerate(HELP)}
    commands.sort(key=lambda command: places.get(f"{prefix}{_word(command)}", len(places)))


def _word(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", "")).replace("_", "-")


def without_flag_types(command: TyperCommand | TyperGroup, above: Context | None = None) -> None:
    """Take typer's word `<bool>` from flags, which take no value."""
    context = Context(command, parent=above, **command.context_settings)
    for option in command.get_params(context):
        if getattr(option, "is_flag", False) and option.metavar is None:
            option.metavar = ""
    for each in getattr(command, "commands", {}).values():
        without_flag_types(each, context)

"""The documentation as data: its pages, the commands and labs in them, the tables made from code.

In a ```console block a line that starts with `$ ` (or `# ` for root) is a command. Lines below it
are what it prints: standard output, or standard error of a command that prints nothing else. They
are compared exactly, so output that differs from run to run stands in a ```text block instead,
named an example. The labkit lines of a ```bash block are commands too. A ```yaml block with a `name:` key is a whole lab file.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from labkit.cli.app import add_verbs, app
from labkit.cli.box import box_app
from labkit.host import packages, sandbox
from labkit.host.vagrant_environment import rules
from labkit.lab import options
from labkit.lab.file import json_schema
from labkit.lab.topology import Release
from labkit.lifecycle import doctor
from labkit.packstack.known_failures import failures
from labkit.packstack.recorded import CERTAINTY
from labkit.verify import outputs
from labkit.verify.checks import all_checks
from labkit.verify.run import JUDGED_SUMMARY, REACHABLE_SUMMARY
from tests.support import examples

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
ANSWER_KEYS = ROOT / "tests" / "data" / "answer-keys.tsv"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPTS = ("$ ", "# ")

# What labs need beside the commands that labkit itself calls.
BESIDE = ("dnsmasq", "iptables", "vagrant-libvirt")
# What pip needs to compile libvirt-python, which comes as source alone.
BEFORE_PIP = (
    "gcc",
    "libc-headers",
    "libvirt-headers",
    "pkg-config",
    "python-headers",
    "python-venv",
)

# Verbs that need neither libvirt nor a guest: tests/unit/test_docs.py runs them.
CHEAP = re.compile(
    r"labkit (init( \S+)*|--help|--version|validate|schema|graph( --svg > \S+)?|scenarios|render \S+|box (list|why \S+|render \S+ \S+)"
    r"|verify --from \S+( --junit \S+)?|explain \S+)( --json)?$"
)
# Pages whose every other command tests/e2e/test_docs.py runs, in this order, in one sandbox.
WALKED = (
    "docs/tutorial/first-lab.md",
    "docs/how-to/snapshot-and-restore.md",
    "docs/how-to/use-an-existing-bridge.md",
)
# What no test runs as it stands in a page, and why.
NOT_RUN = {
    "make setup": "installs packages of the host; every make target that runs these tests calls it",
    "python3 -m venv ~/labkit": "makes a directory at home; tests/integration/test_wheel.py installs the wheel",
    "~/labkit/bin/pip install .": "the same, and asks the package index",
    "~/labkit/bin/pip wheel --no-deps .": "the same",
    "sudo ln -s ~/labkit/bin/labkit /usr/local/bin": "changes the host",
    "sudo make rehearsal": "needs a terminal for sudo; tests/e2e/test_rehearsal.py runs 'labkit rehearsal' itself",
    "sudo make test": "would run the tests from within the tests",
    "sudo -s": "needs a terminal; the tests that need root run as root",
    ". .venv/bin/activate": "sets PATH, which the tests set themselves",
    "labkit sandbox": "the walk runs inside a sandbox that its fixture made",
    'sudo -E "$(command -v labkit)" sandbox': "needs a terminal; tests/e2e/test_sandbox.py has its cases",
    'sudo -E "$(command -v labkit)" sandbox -- labkit rehearsal': "the same",
    "labkit sandbox -- labkit rehearsal --report rehearsal.json": "tests/e2e runs the rehearsal itself",
    "pgrep -f labkit.host.sandbox_init": "finds processes of other tests too",
    "sudo nsenter --all --target 4712 virsh list": "its process number is an example",
    "virsh list --all": "libvirt's own command; tests/e2e/test_sandbox.py runs virsh",
    "labkit box build centos7": "downloads 950 MB and installs CentOS; tests/e2e installs the stand-in ISO",
    "labkit box build centos7 --iso /isos/CentOS-7-x86_64-Minimal-1804.iso": "the same, from a path of an example",
    "labkit box build centos7-cloud": "downloads 860 MB; tests/integration/boxes/test_image.py builds from small images",
    "labkit box build my-centos7": "the same, of a box of an example",
    "labkit doctor": "what it finds differs from host to host; tests/integration/lifecycle/test_doctor.py runs it",
    "labkit doctor --repos": "asks servers of the internet; tests/integration/lifecycle/test_doctor.py asks one on the loopback",
    "labkit verify": "asks a deployed lab; tests/e2e/inside/test_deploy.py has one",
    "labkit verify --junit verify.xml": "the same",
    "labkit snapshot pre-packstack": "the walk of docs/how-to/snapshot-and-restore.md takes it with a note",
    "labkit console compute": "needs a terminal; tests/e2e/inside/test_lab.py has one",
    "labkit console --login compute": "the same",
    "labkit console --log compute": "asks a lab that is up; tests/e2e/inside/test_lab.py has one",
    "labkit open": "asks a deployed lab; tests/unit/cli/test_remote.py has its cases",
    "labkit openstack server list": "the same",
    "labkit ssh -N -L 8080:172.16.208.39:80 controller": "does not end by itself; tests/unit/cli/test_remote.py has its words",
    "rsync -e 'ssh -F lab.ssh' lab.yaml compute:": "tests/e2e/inside/test_lab.py runs it",
    "ansible -i inventory.yaml -m ping all": "the same",
    "labkit deploy": "takes minutes; tests/e2e/inside/test_deploy.py and test_deploy_faults.py run it",
    "labkit deploy --detach": "the same",
    "labkit deploy --kill": "the same",
    "labkit deploy --dry-run": "the same",
    "labkit logs deploy -f": "the same",
    "labkit run --box rehearsal --junit lab.xml --json lab.json --timeout 2h --destroy": "the same",
    "labkit run --from pre-packstack --junit lab.xml": "the same",
    "labkit destroy --name packstack": "the walk's lab files are there; tests/e2e/inside/test_neighbours.py removes one",
    "labkit sweep": "removes what it finds expired; tests/e2e/inside/test_sweep.py runs it",
    "labkit sweep --dry-run": "the same",
    "labkit sweep --orphans": "the same",
    "exit": "ends the shell",
}


class AnswerKey(NamedTuple):
    """What an answer-file key means to the checks."""

    key: str
    use: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of a page, and the output the page shows; empty when it shows none."""

    page: str
    line: int
    text: str
    output: tuple[str, ...]

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def text(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks of a language, each with the number of its first line."""
    content = text(page)
    return [
        (content.count("\n", 0, found.start(2)) + 1, found[2])
        for found in BLOCK.finditer(content)
        if found[1] == language
    ]


def prose(page: str) -> str:
    """Return a page without its fenced blocks."""
    return BLOCK.sub("", text(page))


def commands(page: str) -> list[Command]:
    found: list[Command] = []
    for first, block in blocks(page, "console"):
        taken: list[tuple[int, str, list[str]]] = []
        for number, line in enumerate(block.splitlines(), start=first):
            if line.startswith(PROMPTS):
                taken.append((number, line[2:].strip(), []))
            else:
                assert taken, f"{page}:{number}: output without a command"
                taken[-1][2].append(line.rstrip())
        found += [
            Command(page=page, line=number, text=command, output=tuple(output))
            for number, command, output in taken
        ]
    for first, block in blocks(page, "bash"):
        found += [
            Command(page=page, line=number, text=line.split(" > ")[0], output=())
            for number, line in enumerate(block.splitlines(), start=first)
            if line.startswith("labkit ")
        ]
    return found


def labs(page: str) -> list[str]:
    return [
        block for _, block in blocks(page, "yaml") if re.search(r"^name: ", block, re.MULTILINE)
    ]


def shown(stdout: str, stderr: str) -> tuple[str, ...]:
    """Return the lines that a page may show for a command."""
    return tuple(line.rstrip() for line in (stdout or stderr).splitlines())


def verbs() -> dict[str, TyperCommand]:
    """Return every verb of the command line by its words, such as `box build`."""
    add_verbs()
    found: dict[str, TyperCommand] = {}
    for prefix, typed in (("", app), ("box ", box_app)):
        group = get_command(typed)
        assert isinstance(group, TyperGroup)
        for name, command in group.commands.items():
            # `app` has the group 'box' itself too.
            if isinstance(command, TyperCommand):
                found[f"{prefix}{name}"] = command
    return found


def verb_sections() -> str:
    """Return the part of docs/reference/cli.md that the program knows by itself."""
    parts: list[str] = []
    for name, verb in verbs().items():
        arguments = [part for part in verb.params if isinstance(part, TyperArgument)]
        words = " ".join(argument_words(part) for part in arguments)
        rows = [f"| `{argument_words(part)}` | {_sentence(part.help)} |" for part in arguments]
        rows += [_option(part) for part in verb.params if isinstance(part, TyperOption)]
        table = ["| | |", "|---|---|", *rows, ""] if rows else []
        usage = f"`labkit {name}{' [OPTIONS]' if len(rows) > len(arguments) else ''} {words}`"
        heading = [f"### labkit {name}", "", usage.replace(" `", "`"), "", str(verb.help), ""]
        parts += [*heading, *table]
    return "\n".join(parts)


def argument_words(argument: TyperArgument) -> str:
    """Return an argument as a usage line names it."""
    name = argument.metavar or str(argument.name).upper()
    many = "..." if argument.nargs == -1 and "..." not in name else ""
    # Some of the names say already that they may be left out.
    return f"{name}{many}" if argument.required or "[" in name else f"[{name}{many}]"


def _option(option: TyperOption) -> str:
    value = "" if option.is_flag else f" {option.metavar or 'FILE'}"
    names = ", ".join(f"`{name}{value}`" for name in option.opts)
    return f"| {names} | {meaning(option, '`')} |"


def meaning(part: TyperArgument | TyperOption, mark: str = "") -> str:
    """Return what an argument or option means: its help, and of an option default and variable.

    Args:
        part: The argument or option.
        mark: Stands around both.
    """
    words = _sentence(part.help)
    if isinstance(part, TyperOption):
        if part.default and not part.is_flag:
            words += f" Default: {mark}{part.default}{mark}."
        if part.envvar:
            words += f" Environment: {mark}{part.envvar}{mark}."
    return words


def _sentence(words: str | None) -> str:
    assert words, "an argument or option without help"
    return words if words.endswith(".") else f"{words}."


def check_sections() -> str:
    """Return the part of docs/reference/checks.md that the registry knows by itself."""
    lab = examples.example("packstack")
    parts = ["### reachable", "", REACHABLE_SUMMARY, ""]
    parts += [
        "Only where the nodes are asked; when it fails, the node's other checks are not judged.",
        "",
    ]
    everywhere = ["| | |", "|---|---|", "| judged on | all nodes of the deployment |", ""]
    parts += [*everywhere, "### judged", "", JUDGED_SUMMARY, ""]
    parts += ["Shown only when it fails: every other check of the node is not judged then.", ""]
    parts += everywhere
    for check in all_checks():
        nodes = str(inspect.getdoc(check.nodes)).split("\n")[0].removeprefix("Return ")
        files = ", ".join(f"`{outputs.file_name(kind, lab)}`" for kind in check.needs)
        parts += [f"### {check.id}", "", check.summary, "", check.description, ""]
        parts += ["| | |", "|---|---|", f"| judged on | {nodes.rstrip('.')} |"]
        parts += [f"| needs | {files} |", ""]
    return "\n".join(_wrapped(part) for part in parts)


def output_table() -> str:
    """Return the outputs that checks judge, as the walk-through's lab has them."""
    lab = examples.example("packstack")
    rows: dict[str, tuple[str, list[str]]] = {}
    for node in lab.nodes:
        for command in outputs.commands(lab, node):
            rows.setdefault(command.file, (command.shell, []))[1].append(node.name)
    table = [
        f"| `{file}` | `{shell}` | {', '.join(names)} |" for file, (shell, names) in rows.items()
    ]
    return "\n".join(["| file | command, run as root | nodes |", "|---|---|---|", *table])


def checks_page() -> str:
    """Return the generated part of docs/reference/checks.md."""
    return f"## Outputs\n\n{output_table()}\n\n## Checks\n\n{check_sections()}"


def answer_keys() -> str:
    """Return the table of answer-file keys of docs/reference/answer-keys.md."""
    rows = [
        f"| `{row.key}` | {row.use} | {row.why}{_only_in(row.key)} |" for row in answer_key_rows()
    ]
    return "\n".join(["| key | | why |", "|---|---|---|", *rows])


def _only_in(key: str) -> str:
    """Return in which releases a key is, when it is not in all of them."""
    having = [each.value for each in Release if options.find(key, each)]
    return "" if len(having) == len(Release) else f" (in {', '.join(having)} only)"


def known_failures() -> str:
    """Return the known failures for docs/reference/known-failures.md."""
    parts: list[str] = []
    for known in failures():
        certainty = "a note, no failure" if known.note else CERTAINTY[known.specificity]
        # A bar would end the cell.
        patterns = [pattern.replace("|", "\\|") for pattern in known.patterns]
        parts += [f"## {known.id}", "", _placed(known.cause), ""]
        parts += [f"**Remedy.** {_placed(known.remedy)}", "", "| | |", "|---|---|"]
        parts += [f"| known | {certainty} |", f"| from | {known.source} |"]
        parts += [f"| seen with | {', '.join(known.seen)} |"] if known.seen else []
        parts += [*(f"| shows by | `{pattern}` |" for pattern in patterns), ""]
    return "\n".join(_wrapped(part) for part in parts)


def _placed(text: str) -> str:
    """Return a text whose places for what was met stand out."""
    return re.sub(r"\{(\w+)\}", r"`\1`", text)


def answer_key_rows() -> list[AnswerKey]:
    """Return what was found of every key when they were gone through."""
    lines = ANSWER_KEYS.read_text(encoding="utf-8").splitlines()
    return [AnswerKey(*line.split("\t")) for line in lines[1:]]


def _wrapped(line: str) -> str:
    return line if line.startswith(("|", "#")) else textwrap.fill(line, 118)


def key_tables() -> str:
    """Return the part of docs/reference/lab-file.md that the JSON schema knows by itself."""
    schema = json_schema()
    parts: list[str] = []
    places: list[tuple[str, dict[str, Any]]] = [("", schema)]
    while places:
        place, mapping = places.pop(0)
        needed = mapping.get("required", ())
        heading = f"### {place}" if place else "### The lab"
        parts += [heading, "", mapping["description"], ""]
        parts += ["| key | needed | value | meaning |", "|---|---|---|---|"]
        for key, field in mapping["properties"].items():
            whole = _resolved(field, schema)
            value = _value(whole, schema)
            need = "yes" if key in needed else "no"
            parts.append(f"| `{key}` | {need} | {value} | {_meaning(field)} |")
            path = f"{place}.{key}" if place else key
            inner = _inside(whole, schema)
            if "properties" in whole:
                places.append((path, whole))
            elif inner is not None:
                places.append((f"{path}.NAME", inner))
        parts.append("")
    return "\n".join(parts)


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = field.get("$ref", "").removeprefix("#/$defs/")
    return {**schema["$defs"][name], **field} if name else field


def _inside(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the values of a mapping with free names look like, when they are mappings."""
    options = [*field.get("patternProperties", {}).values()]
    if isinstance(field.get("additionalProperties"), dict):
        options.append(field["additionalProperties"])
    inner = [_resolved(option, schema) for option in options]
    return inner[0] if inner and "properties" in inner[0] else None


def _value(field: dict[str, Any], schema: dict[str, Any]) -> str:
    field = _resolved(field, schema)
    formats = {"ipv4": "IPv4 address", "ipv4network": "IPv4 network"}
    if "enum" in field:
        words = [f"`{word}`" for word in field["enum"]]
        result = f"{', '.join(words[:-1])} or {words[-1]}"
    elif "examples" in field:
        result = f"text such as `{field['examples'][0]}`"
    elif "format" in field:
        result = formats[field["format"]]
    elif field["type"] == "array":
        most = f", at most {field['maxItems']}" if "maxItems" in field else ""
        result = f"list{most}: {_value(field['items'], schema)}"
    elif field["type"] == "integer":
        result = f"{field['minimum']} to {field['maximum']}"
    else:
        result = {"object": "mapping", "boolean": "`true` or `false`", "string": "text"}[
            field["type"]
        ]
    return result


def _meaning(field: dict[str, Any]) -> str:
    description = str(field["description"])
    default = field.get("default")
    if default in (None, [], {}) or isinstance(default, dict) or str(default) in description:
        return description
    written = str(default).lower() if isinstance(default, bool) else str(default)
    return f"{description} Default: `{written}`."


def install_lines() -> str:
    """Return the table of docs/how-to/install.md: what to install on each system, and when."""
    systems = {
        "Debian, Ubuntu": "ID=debian",
        "Fedora": "ID=fedora",
        "RHEL 9, AlmaLinux 9, Rocky Linux 9": 'ID=rocky\nID_LIKE="rhel"',
    }
    rows = []
    for name, release in systems.items():
        before, after = (
            re.sub(r"'(sudo [^']+)'", r"`\1`", packages.install_line(needed, release))
            for needed in (BEFORE_PIP, (*doctor.TOOLS, *sandbox.TOOLS, *BESIDE))
        )
        rows.append(f"| {name} | {before} | {after} |")
    return "\n".join(["| system | before pip | for the labs |", "|---|---|---|", *rows])


def vagrant_rules() -> str:
    """Return the table of what becomes of each variable that labkit's Vagrant could see."""
    rows = [
        f"| `{rule.name}` | {rule.treatment}{f' to `{rule.value}`' if rule.value else ''} "
        f"| {rule.reason} |"
        for rule in rules()
    ]
    return "\n".join(["| variable | what becomes of it | why |", "|---|---|---|", *rows])


def with_generated(page: str, made: str) -> str:
    """Return a page's text with the part between its two marks replaced."""
    content = text(page)
    start, end = "<!-- made from the program -->\n", "<!-- end -->\n"
    assert content.count(start) == content.count(end) == 1, f"{page}: its marks are missing"
    before, rest = content.split(start)
    return f"{before}{start}\n{made.rstrip()}\n\n{end}{rest.split(end)[1]}"

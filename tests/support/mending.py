"""The script that mends the external bridge, run where nothing of a node is but its two files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.host.process import run

if TYPE_CHECKING:
    from pathlib import Path

CARD = "IPADDR=172.16.208.39\n"


def run_mend(
    root: Path,
    script: str,
    *,
    card: str = CARD,
    bridge: str = "",
    names: tuple[str, str] = ("enp0s3", "br-ex"),
    agent: bool = False,
    broken: str = "",
) -> str:
    """Run the script in a directory of its own, with fakes for ifup, ifdown, ip and systemctl.

    Both files are in its directory `scripts` then.

    Args:
        root: The directory.
        script: The script.
        card: The card's ifcfg file before.
        bridge: The bridge's; there is none when it is empty.
        names: What card and bridge are called.
        agent: Whether Neutron's Open vSwitch agent runs.
        broken: A tool that fails.
    """
    tools = root / "bin"
    tools.mkdir(parents=True)
    for name in ("ifup", "ifdown", "ip", "restorecon", *filter(None, (broken,))):
        tool = tools / name
        tool.write_text(
            f'#!/bin/bash\necho "{name} $*" >>"{root}/calls"\n[ {name} != "{broken}" ]\n'
        )
        tool.chmod(0o755)
    systemctl = tools / "systemctl"
    answer = "" if agent else "[[ $* != *is-active* ]]"
    systemctl.write_text(f'#!/bin/bash\necho "systemctl $*" >>"{root}/calls"\n{answer}\n')
    systemctl.chmod(0o755)
    scripts, kept = root / "scripts", root / "kept"
    scripts.mkdir()
    kept.mkdir()
    for name, text in zip(names, (card, bridge), strict=True):
        if text:
            (scripts / f"ifcfg-{name}").write_text(text)
    script = script.replace("/etc/sysconfig/network-scripts", str(scripts))
    script = script.replace("/var/lib/labkit", str(kept))
    env = {"PATH": f"{tools}:/usr/bin:/bin"}
    run(["bash", "-s"], stdin=script, timeout=30, env=env, check=not broken)
    return (root / "calls").read_text()

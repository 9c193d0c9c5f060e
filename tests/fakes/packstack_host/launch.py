"""Starts Packstack on a pretended controller: launch.py TREE WAYS HOME CONF ARGUMENT…

TREE is an unpacked Packstack and WAYS the module that lets it run on this Python. Hosts answer on
every port, the way to the gateway begins at 127.0.0.1, and what Packstack keeps goes to HOME. The
effective configuration is written to CONF when it ends.
"""

from __future__ import annotations

import importlib
import json
import platform
import socket
import sys
import types
from functools import partial
from pathlib import Path

TREE, WAYS, HOME, CONF = map(Path, sys.argv[1:5])
sys.path[:0] = [str(WAYS.parent), str(TREE)]
ways = importlib.import_module(WAYS.stem)
ways.install()
# This machine need not be a CentOS.
platform.linux_distribution = lambda *_, **__: ("CentOS Linux", "7.9.2009", "Core")  # type: ignore[attr-defined]  # gone in 3.8
netifaces = types.ModuleType("netifaces")
gateway = {socket.AF_INET: ("127.0.0.1", "lo")}
netifaces.gateways = lambda: {"default": gateway}  # type: ignore[attr-defined]  # made just now
sys.modules["netifaces"] = netifaces


class FakeSocket:
    """A host that takes every connection."""

    def shutdown(self, _how: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def judge(run_setup: types.ModuleType) -> None:
    """Read [KEY, VALUE] pairs as JSON; write why Packstack refuses each, or null, to CONF."""
    run_setup.loadPlugins()
    run_setup.initPluginsConfig()
    verdicts: list[str | None] = []
    for key, value in json.load(sys.stdin):
        # As _handleAnswerFileParams does it; a file of its own keeps one value from the next.
        (HOME / "one.cfg").write_text(f"[general]\n{key}={value}\n", encoding="utf-8")
        parser = ways.ConfigParser()
        try:
            parser.read(HOME / "one.cfg")
            run_setup._loadParamFromFile(parser, "general", key)
        except Exception as exc:  # noqa: BLE001 -- whatever it is, Packstack ends with it
            verdicts.append(f"{type(exc).__name__}: {exc}")
        else:
            verdicts.append(None)
    CONF.write_text(json.dumps(verdicts), encoding="utf-8")


def main() -> None:
    """Run Packstack's own main with the arguments that are left."""
    socket.create_connection = lambda *_: FakeSocket()  # type: ignore[assignment]  # a stand-in
    socket.getaddrinfo = partial(socket.getaddrinfo, flags=socket.AI_NUMERICHOST)
    # What it keeps has a fixed place, and its documentation one that only an RPM fills.
    base = TREE / "packstack" / "installer" / "basedefs.py"
    text = base.read_text(encoding="utf-8").replace("/var/tmp/packstack", str(HOME / "var"))  # noqa: S108
    module = types.ModuleType("packstack.installer.basedefs")
    module.__file__ = str(base)
    import packstack.installer  # noqa: PLC0415 -- found by the path set above

    exec(compile(text, base, "exec"), module.__dict__)  # noqa: S102 -- Packstack's own module
    module.PACKSTACK_DOC = str(  # type: ignore[attr-defined]  # Packstack's own
        next(TREE.glob("*.data/data/share/packstack/packstack.rst"))
    )
    sys.modules["packstack.installer.basedefs"] = module
    packstack.installer.basedefs = module
    from packstack.installer import run_setup  # noqa: PLC0415 -- after what it reads is in place

    sys.argv = ["packstack", *sys.argv[5:]]
    if sys.argv[1:] == ["judge"]:
        judge(run_setup)
        return
    try:
        run_setup.main()
    finally:
        known = {key: value for key, value in run_setup.controller.CONF.items() if key.isupper()}
        CONF.write_text(json.dumps(known, default=str, indent=1), encoding="utf-8")


main()

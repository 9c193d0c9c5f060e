"""A lab on a disk that is really full: a tmpfs of its own, in a mount namespace of its own."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import environment, run
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system"),
]

BODY = """
import os, sys
from contextlib import suppress
from pathlib import Path
from labkit.cli.session import start_log
from labkit.lifecycle.teardown import destroy, halt
from labkit.state.directory import LabState, NodeState
from labkit.state.registry import user_registry
from tests.fakes.libvirt import FakeHost
from tests.support import labs, sessions

disk = Path(sys.argv[1])
os.environ["XDG_STATE_HOME"] = str(disk / "records")
host, lab = FakeHost(), labs.lab()
host.add_lab(lab)
session = sessions.session(disk, lab, host)
session.directory.create()
session.directory.lock.touch()
nodes = {node.name: NodeState() for node in lab.nodes}
session.directory.save(LabState(lab="demo", lab_id=labs.LAB_ID, nodes=nodes, networks=("lan",)))
user_registry().enter(session.directory, session.state())
with suppress(OSError), (disk / "fill").open("wb", buffering=0) as fill:
    while fill.write(bytes(4096)):
        pass
start_log(session.directory.logs, "halt")
print([how for _, how in halt(session).nodes])
print(len(destroy(session).describe()), host.domains, host.volumes)
print(sorted(path.name for path in disk.rglob("*") if path.is_file() or path.name == ".labkit"))
"""


def test_halt_and_destroy_work_on_a_full_disk(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=128k none "$1" && exec "$2" -c "$3" "$1"'
    words = ("unshare", "--mount", "sh", "-c", mount, "sh", tmp_path, sys.executable, BODY)
    done = run(words, timeout=60, env=environment(PYTHONPATH=str(ROOT)), cwd=ROOT)
    assert done.stdout.splitlines() == [
        "['shut down', 'shut down']",
        "7 {} {}",
        "['fill']",
    ]
    assert done.stderr == ""

"""The scripts labkit writes for guests, judged by shellcheck; scripts that are files are by 'make lint'."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import run
from labkit.lab.deployment import attaches_external_nic, deployed_nodes, network_nodes
from labkit.packstack.mend import mend_script
from labkit.packstack.prepare_script import script
from tests.support.examples import EXAMPLES, example

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", EXAMPLES)
def test_scripts_for_the_guests_of_an_example_lab_pass_shellcheck(
    name: str, tmp_path: Path
) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("'shellcheck' is not installed; 'make setup' installs it")
    lab = example(name)
    keys = {node.name: f"ssh-ed25519 AAAA{node.name}" for node in lab.nodes}
    texts = {
        f"prepare-{node.name}": script(lab, node, packages=lab.repositories, host_keys=keys)
        for node in deployed_nodes(lab)
    }
    if attaches_external_nic(lab) and not lab.obstacles:
        texts |= {f"mend-{node.name}": mend_script(lab, node) for node in network_nodes(lab)}
    for file, text in texts.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    result = run(
        ["shellcheck", "--shell=bash", *sorted(texts)], cwd=tmp_path, timeout=100, check=False
    )
    assert (result.returncode, result.stdout) == (0, "")

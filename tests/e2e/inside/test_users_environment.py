"""Two labs alike but for their names, in the shell of somebody who uses Vagrant for other things."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.driver import (
    UP_SECONDS,
    Inventory,
    Lab,
    inventory,
    virsh,
    write_lab,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(UP_SECONDS)]

HOME_VAGRANTFILE = """\
Vagrant.configure('2') do |config|
  config.vm.provision 'shell', inline: 'touch /provisioned'
  config.vm.provider :libvirt do |libvirt|
    libvirt.cputopology sockets: '2', cores: '2', threads: '1'
    libvirt.memory = 2048
    libvirt.storage :file, size: '1G'
  end
end
"""


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Lab]]:
    """Return two running labs, the first made before and the second after the shell was set up."""
    directory = tmp_path_factory.mktemp("labs")
    home = tmp_path_factory.mktemp("vagrant.d")
    (home / "Vagrantfile").write_text(HOME_VAGRANTFILE)
    shell = {
        "VAGRANT_DOTFILE_PATH": str(tmp_path_factory.mktemp("dotfiles")),
        "VAGRANT_HOME": str(home),
        "VAGRANT_CWD": "/",
        "VAGRANT_VAGRANTFILE": "Other",
        "VAGRANT_NO_PLUGINS": "1",
        "VAGRANT_DEFAULT_PROVIDER": "virtualbox",
        "RUBYOPT": "-W0 -rno_such_library",
        "GEM_HOME": "/nowhere",
        "LIBVIRT_DEFAULT_URI": "test:///default",
    }
    first = write_lab(directory, "small", 2)
    first.up()
    other = replace(write_lab(directory, "other", 3), environment=shell)
    other.up()
    first = replace(first, environment=shell)
    yield first, other
    for lab in (first, other):
        lab.run("destroy")
    assert not inventory().domains


def test_case_03_home_vagrantfile_changes_no_machine(labs: tuple[Lab, Lab]) -> None:
    _, other = labs
    (node,) = other.status()
    assert (node["state"], node["vcpus"], node["memory_mib"]) == ("running", 1, 384)
    assert "<topology" not in virsh("dumpxml", "other_one")
    assert virsh("domblklist", "other_one").split().count("vda") == 1
    assert "vdb" not in virsh("domblklist", "other_one")
    assert other.run("ssh", "one", "ls /").stdout.split().count("provisioned") == 0


def test_case_01_destroy_of_a_lab_leaves_the_other_as_it_was(labs: tuple[Lab, Lab]) -> None:
    first, other = labs
    boots = other.boot_ids()
    before = inventory()

    first.run("destroy")

    after = inventory()
    gone = Inventory(
        domains=before.domains - after.domains,
        networks=before.networks - after.networks,
        volumes=before.volumes - after.volumes,
        links=frozenset(),
        files=frozenset(),
    )
    assert gone.domains == {"small_one"}
    assert gone.networks == {"small_lan"}
    assert gone.volumes == {"small_one.img", "small_one_seed.iso"}
    assert other.boot_ids() == boots

    # The other way round, with a lab that was made again in the same shell.
    first.up()
    boots = first.boot_ids()
    other.run("destroy")
    assert inventory().domains == {"small_one"}
    assert first.boot_ids() == boots


def test_case_02_snapshot_beside_labkit_is_removed_with_its_lab(
    labs: tuple[Lab, Lab],
) -> None:
    first, _ = labs
    virsh("snapshot-create-as", "small_one", "ext1", "--disk-only", "--atomic")
    assert "small_one.ext1" in inventory().volumes
    said = first.run("destroy").stdout
    assert "removed volume small_one.ext1" in said
    assert not inventory().volumes
    first.up()
    first.run("destroy")
    assert not inventory().domains

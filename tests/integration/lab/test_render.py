"""Generated text, judged by the programs that will read it."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from labkit.host.process import environment, run
from labkit.lab.render import network_xml, node_files, vagrantfile
from labkit.lab.templates import ruby, shell_value
from tests.support.examples import EXAMPLES, example, settings

if TYPE_CHECKING:
    from labkit.host.process import CommandResult
    from labkit.lab.topology import ResolvedLab

pytestmark = pytest.mark.integration

SCHEMA = Path("/usr/share/libvirt/schemas/network.rng")
HOSTILE_DIRECTORY = "a #{exit 1} $(exit 1) `exit 1` \\ \\\\ %d ü 網"
FRAGMENTS = [
    "'", '"', "\\", "\\\\", "#{exit 1}", "$(exit 1)", "`exit 1`", "$HOME", "${PATH}", "\n", "\t", " ", "!", "*", "~",
    "%s", "&", "|", ";", "<<E", "ü", "網", "\u2028", "__END__", "=begin", "a", "Z", "0", "-", "{{ x }}", "{% x %}",
]  # fmt: skip


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"'{name}' is not installed; 'make setup' installs it")
    return found


def hostile_texts() -> list[str]:
    source = random.Random(0)  # noqa: S311 -- the same texts in every run, nothing secret
    return ["", *FRAGMENTS] + [
        "".join(source.choices(FRAGMENTS, k=source.randint(2, 12))) for _ in range(500)
    ]


def test_ruby_hostile_texts_are_read_back_unchanged_by_ruby() -> None:
    texts = hostile_texts()
    script = f"require 'json'\nputs [{', '.join(ruby(text) for text in texts)}].to_json\n"
    result = run([tool("ruby"), "-"], stdin=script, timeout=60)
    assert json.loads(result.stdout) == texts


def test_shell_value_hostile_texts_are_read_back_unchanged_by_bash() -> None:
    texts = hostile_texts()
    lines = [f"V{index}={shell_value(text)}" for index, text in enumerate(texts)]
    lines += [f'printf "%s\\0" "$V{index}"' for index in range(len(texts))]
    result = run([tool("bash"), "-s"], stdin="\n".join(lines) + "\n", timeout=60)
    assert result.stdout.split("\0")[:-1] == texts


@pytest.mark.parametrize("name", EXAMPLES)
def test_ifcfg_sourced_by_bash_gives_the_resolved_values(name: str, tmp_path: Path) -> None:
    lab = example(name)
    canary = Path("/tmp/labkit-was-here")  # noqa: S108 -- what the hostile lab tries to make
    assert not canary.exists()
    for node in lab.nodes:
        files = {file.path: file.content for file in node_files(lab, node)}
        for nic in node.nics:
            path = tmp_path / f"ifcfg-{nic.name}"
            path.write_text(
                files[f"/etc/sysconfig/network-scripts/ifcfg-{nic.name}"], encoding="utf-8"
            )
            keys = [key for key, _ in nic.ifcfg]
            printed = " ".join(f'"${key}"' for key in keys)
            script = f'set -eu; . "$1"; printf "%s\\0" {printed}'
            result = run(
                [tool("bash"), "-c", script, "bash", path], timeout=30, env={"LC_ALL": "C.UTF-8"}
            )
            assert result.stderr == ""
            values = result.stdout.split("\0")[:-1]
            assert tuple(zip(keys, values, strict=True)) == nic.ifcfg
    assert not canary.exists()


@pytest.mark.parametrize("name", EXAMPLES)
def test_network_xml_is_valid_in_libvirts_own_schema(name: str) -> None:
    if not SCHEMA.is_file():
        pytest.skip(f"{SCHEMA} is missing; it comes with libvirt's packages")
    schema = etree.RelaxNG(file=str(SCHEMA))
    lab = example(name)
    made = [network for network in lab.networks if network.libvirt_name is not None]
    assert made
    for network in made:
        schema.assertValid(etree.fromstring(network_xml(lab, network)))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("kvm", [False, True])
def test_vagrantfile_example_lab_is_ruby(name: str, tmp_path: Path, *, kvm: bool) -> None:
    lab = example(name)
    path = tmp_path / "Vagrantfile"
    text = vagrantfile(lab, settings(lab, tmp_path / HOSTILE_DIRECTORY, kvm=kvm))
    path.write_text(text, encoding="utf-8")
    result = run([tool("ruby"), "-wc", path], timeout=60)
    assert (result.stdout, result.stderr) == ("Syntax OK\n", "")


def write_vagrantfile(lab: ResolvedLab, directory: Path) -> None:
    inside = directory / HOSTILE_DIRECTORY
    inside.mkdir(parents=True)
    key = inside / "id_rsa"
    key.touch(mode=0o600)
    text = vagrantfile(lab, settings(lab, inside, key=key))
    (directory / "Vagrantfile").write_text(text, encoding="utf-8")


def vagrant(directory: Path, *argv: str | Path, **variables: str) -> CommandResult:
    """Run Vagrant on libvirt's in-process test driver: no daemon, nothing of the host."""
    tool("vagrant")
    env = environment(
        VAGRANT_HOME=str(directory / "home"),
        VAGRANT_DEFAULT_PROVIDER="libvirt",
        VAGRANT_CHECKPOINT_DISABLE="1",
        LIBVIRT_DEFAULT_URI="test:///default",
        **variables,
    )
    return run(argv, cwd=directory, env=env, timeout=100, check=False)


@pytest.mark.parametrize("name", EXAMPLES)
def test_vagrantfile_example_lab_gives_its_machines_to_vagrant_status(
    name: str, tmp_path: Path
) -> None:
    lab = example(name)
    write_vagrantfile(lab, tmp_path)
    result = vagrant(tmp_path, "vagrant", "status", "--machine-readable")
    assert result.returncode == 0, result.tail()
    states = [line.split(",")[1:4] for line in result.stdout.splitlines() if ",state," in line]
    assert states == [[node.name, "state", "not_created"] for node in lab.nodes]


@pytest.mark.parametrize("name", EXAMPLES)
def test_vagrantfile_example_lab_passes_vagrant_validate(name: str, tmp_path: Path) -> None:
    lab = example(name)
    write_vagrantfile(lab, tmp_path)
    # vagrant-libvirt asks whether the host has the bridges: a network namespace has them.
    bridges = sorted({network.bridge for network in lab.networks})
    isolated = ["unshare", "--map-root-user", "--net", "sh", "-ec"]
    make = 'for bridge; do ip link add "$bridge" type bridge; done; '
    if run([*isolated, make, "sh", *bridges], timeout=30, check=False).returncode != 0:
        pytest.skip("no network namespace with a bridge can be made here; run as root")
    result = vagrant(tmp_path, *isolated, f"{make} exec vagrant validate", "sh", *bridges)
    assert result.returncode == 0, result.tail()
    assert "validated successfully" in result.stdout
    # The judge can say no: without the bridges it does.
    refused = vagrant(tmp_path, *isolated, "exec vagrant validate")
    assert refused.returncode == 1
    first = lab.nodes[0].nics[0].network.bridge
    assert f"'{first}' which does not exist" in refused.stdout + refused.stderr


@pytest.mark.parametrize(("log", "waits"), [("info", "1"), ("", "1"), ("info", ""), ("", "")])
def test_vagrantfile_silences_a_log_nobody_asked_for_and_for_labkit_alone(
    log: str, waits: str, tmp_path: Path
) -> None:
    write_vagrantfile(example("packstack"), tmp_path)
    with (tmp_path / "Vagrantfile").open("a") as file:
        file.write(
            "one = Log4r::Logger.new('vagrant::labkit')\n"
            "one.info('from the first')\n"
            "two = Log4r::Logger.new('vagrant::labkit')\n"
            "two.info('from the second')\n"
            "puts one.equal?(two)\n"
        )
    result = vagrant(tmp_path, "vagrant", "status", VAGRANT_LOG=log, LABKIT_WAITS=waits)
    assert result.returncode == 0, result.tail()
    shared = bool(waits) and not log
    assert result.stdout.splitlines()[0] == str(shared).lower()
    for line in ("from the first", "from the second"):
        assert (line in result.stderr) == bool(log)


def test_vagrantfile_overrides_take_hold_in_vagrants_own_classes(tmp_path: Path) -> None:
    lab = example("packstack")
    write_vagrantfile(lab, tmp_path)
    script = """
require 'vagrant'
require 'vagrant-libvirt/driver'
load File.join(Dir.pwd, 'Vagrantfile')
driver = VagrantPlugins::ProviderLibvirt::Driver.allocate
ssh = Struct.new(:host).new('192.0.2.1')
driver.instance_variable_set(:@machine, Struct.new(:config).new(Struct.new(:ssh).new(ssh)))
puts driver.get_ipaddress
[Vagrant::Action::Builtin::WaitForCommunicator,
 Vagrant::Action::Builtin::SyncedFolders].each do |action|
  waiter = action.new(->(_) { puts 'not waited' }, {})
  ENV['LABKIT_WAITS'] = '1'
  waiter.call({})
  ENV.delete('LABKIT_WAITS')
  begin
    waiter.call({})
  rescue NoMethodError
    puts 'waited for a machine'
  end
end
action = VagrantPlugins::ProviderLibvirt::Action::CreateDomain
template = File.join(File.dirname(action.instance_method(:initialize).source_location[0]),
                     '../templates/domain.xml.erb')
create = action.allocate
File.read(template).scan(/@(\\w+)/).flatten.uniq.each do |name|
  create.instance_variable_set("@#{name}", {})
end
create.instance_variable_set(:@serials, [{ type: 'pty', source: { path: '/labs/a b.log' } }])
puts create.to_xml('domain').scan(/<(?:serial|console).*?port/m).map { |each| each.gsub(/\\s*\\n\\s*/, '') }
"""
    probe = [tool("ruby"), "-e", "require 'vagrant'; require 'vagrant-libvirt/driver'"]
    if run(probe, timeout=60, check=False).returncode != 0:
        pytest.skip("Vagrant's classes cannot be loaded outside its own bundle here")
    result = run([tool("ruby"), "-"], stdin=script, cwd=tmp_path, timeout=60)
    assert result.stdout.splitlines() == [
        "192.0.2.1",
        *("not waited", "waited for a machine"),
        *("not waited", "waited for a machine"),
        "<serial type='pty'><log append='on' file='/labs/a b.log'/><target port",
        "<console type='pty'><log append='on' file='/labs/a b.log'/><target port",
    ]

"""Answers that Packstack or the lab itself cannot work with are refused where they stand."""

from __future__ import annotations

import pytest

from labkit.lab import conditions, options, yaml
from labkit.lab.file import check
from labkit.lab.options import problem
from tests.support.examples import DEPLOYED

# With a third card of the controller, which has no task of its own.
CARD = "      enp0s8: {network: lan, address: 10.0.0.4}\n"
LAB = DEPLOYED.replace(CARD, CARD + "      enp0s9: {network: lan, address: 10.0.0.7}\n")
LAB += "  scenario: SCENARIO\n  answers:\n"
FIRST = LAB.count("\n") + 1
MAPPINGS = "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS"
IFACES = "CONFIG_NEUTRON_OVS_BRIDGE_IFACES"
COMPUTE = "CONFIG_NEUTRON_OVS_BRIDGES_COMPUTE"
TYPES = "CONFIG_NEUTRON_ML2_TYPE_DRIVERS"
TENANTS = "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"
VLANS = "CONFIG_NEUTRON_ML2_VLAN_RANGES"
VNIS = "CONFIG_NEUTRON_ML2_VNI_RANGES"


def problems(*answers: str, scenario: str = "multinode") -> list[str]:
    """Return what is wrong with answers; the first stands in line FIRST."""
    text = LAB.replace("SCENARIO", scenario) + "".join(f"    {answer}\n" for answer in answers)
    _lab, found = check(yaml.parse(text, "lab.yaml"))
    return [each.line("lab.yaml").removeprefix("lab.yaml:") for each in found]


@pytest.mark.parametrize("size", ["100GB", "500M", "2T", "20g", "1.5G", "0G", "G", "20", "20 G"])
def test_case_12_cinder_size_that_packstack_cannot_read_is_refused(size: str) -> None:
    [line] = problems(f"CONFIG_CINDER_VOLUMES_SIZE: {size}")
    assert line == (
        f"{FIRST}:33: deployment.answers.CONFIG_CINDER_VOLUMES_SIZE: expected a size such as "
        f"'20G', whole and in G, found '{size}'"
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        # Steps that fail after the validators passed it.
        ("CONFIG_SWIFT_STORAGE_SIZE", "2GB", "a size such as '2G'"),
        ("CONFIG_SWIFT_STORAGE_SIZE", "10g", "a size such as '2G'"),
        ("CONFIG_SWIFT_STORAGE_SIZE", "2G,", "a size such as '2G'"),
        ("CONFIG_SWIFT_STORAGE_ZONES", "0", "a whole number above 0"),
        ("CONFIG_SWIFT_STORAGE_ZONES", "", "a whole number above 0"),
        ("CONFIG_SWIFT_STORAGE_REPLICAS", "-1", "a whole number above 0"),
        ("CONFIG_PROVISION_DEMO_ALLOCATION_POOLS", "{}", "a list in JSON"),
        ("CONFIG_PROVISION_DEMO_ALLOCATION_POOLS", "[a]", "a list in JSON"),
        ("CONFIG_PROVISION_DEMO_ALLOCATION_POOLS", "", "a list in JSON"),
        ("CONFIG_PROVISION_DEMO_FLOATRANGE", "10.0.0.1", "an IPv4 network"),
        ("CONFIG_PROVISION_DEMO_FLOATRANGE", "10.0.0.1/24", "an IPv4 network"),
        ("CONFIG_PROVISION_TEMPEST_FLOATRANGE", "10.0.0.0/33", "an IPv4 network"),
        ("CONFIG_SSL_CERT_SUBJECT_C", "Germany", "2 characters"),
        ("CONFIG_SSL_CERT_SUBJECT_OU", "o" * 65, "at most 64 characters"),
        ("CONFIG_SERVICE_WORKERS", "many", "a whole number above 0"),
        ("CONFIG_SERVICE_WORKERS", "0", "a whole number above 0"),
        ("CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", "nan", "a number above 0"),
        ("CONFIG_NOVA_SCHED_RAM_ALLOC_RATIO", "-1", "a number above 0"),
        # What Packstack changes without a word, or Puppet reads as something else.
        ("CONFIG_HEAT_AUTH_ENC_KEY", "1234567890123456", "a text that is no number"),
        ("CONFIG_HEAT_AUTH_ENC_KEY", "12e4", "a text that is no number"),
        ("CONFIG_HEAT_AUTH_ENC_KEY", "inf", "a text that is no number"),
        ("CONFIG_KEYSTONE_ADMIN_PW", "12e45", "Puppet cannot take for a number"),
        ("CONFIG_KEYSTONE_ADMIN_PW", "-.5", "Puppet cannot take for a number"),
        ("CONFIG_KEYSTONE_ADMIN_PW", ".E-35", "Puppet cannot take for a number"),
        ("CONFIG_KEYSTONE_ADMIN_PW", "2018-7-1", "Puppet cannot take for a number or a date"),
        ("CONFIG_KEYSTONE_REGION", "1e3", "Puppet cannot take for a number"),
        # Lists that Packstack takes apart at their colons, and ranges that Neutron reads.
        (MAPPINGS, "extnet", "pairs such as 'extnet:br-ex'"),
        (MAPPINGS, "extnet:", "pairs such as"),
        (MAPPINGS, ":br-ex", "pairs such as"),
        (MAPPINGS, "extnet:br-ex:enp0s3", "pairs such as"),
        (MAPPINGS, "extnet:br-ex,", "pairs such as"),
        (MAPPINGS, "a:br-ex,b:br-ex", "each name in one pair"),
        (MAPPINGS, "a:br-ex,a:br-b", "each name in one pair"),
        (IFACES, "br-ex", "pairs such as 'br-ex:enp0s3'"),
        (IFACES, "br-ex:enp0s3,br-b:enp0s3", "each name in one pair"),
        (IFACES, "br-ex:enp0s3,br-ex:enp0s9", "each name in one pair"),
        (VNIS, "10-100", "ranges such as '10:100'"),
        (VNIS, "100:10", "the lower number first"),
        (VNIS, "0:10", "from 1 to 16777215"),
        (VNIS, "1:16777216", "from 1 to 16777215"),
        (VNIS, "10:100,", "ranges such as"),
        ("CONFIG_NEUTRON_ML2_TUNNEL_ID_RANGES", "1:4294967296", "from 1 to 4294967295"),
        (VLANS, "extnet:1:4095", "from 1 to 4094"),
        (VLANS, "100:200", "ranges such as 'extnet:100:200'"),
        (VLANS, "extnet:200:100", "the lower number first"),
        ("CONFIG_NEUTRON_ML2_VXLAN_GROUP", "10.0.0.1", "an IPv4 multicast address"),
    ],
)  # fmt: skip
def test_case_12_value_that_a_step_of_packstack_fails_on_is_refused(
    key: str, value: str, expected: str
) -> None:
    assert expected in str(problem(key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CONFIG_CINDER_VOLUMES_SIZE", "100G"),
        ("CONFIG_SWIFT_STORAGE_SIZE", "2000000K"),
        ("CONFIG_SSL_CERT_SUBJECT_C", "--"),
        ("CONFIG_PROVISION_DEMO_ALLOCATION_POOLS", '["start=10.0.0.9,end=10.0.0.10"]'),
        ("CONFIG_HEAT_AUTH_ENC_KEY", "0123456789abcdef"),
        ("CONFIG_KEYSTONE_ADMIN_PW", "000000"),
        ("CONFIG_KEYSTONE_ADMIN_PW", "2018-07-01"),
        ("CONFIG_KEYSTONE_ADMIN_PW", "e5"),
        ("CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", "1e1"),
        (MAPPINGS, "a:br-a, extnet:br-ex"),
        (IFACES, ""),
        (VNIS, "1:1,10:16777215"),
        (VLANS, "extnet,outside:100:200"),
        ("CONFIG_NEUTRON_ML2_VXLAN_GROUP", "239.1.1.1"),
    ],
)
def test_value_that_the_steps_of_packstack_read_has_no_problem(key: str, value: str) -> None:
    assert problem(key, value) is None


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        # Cards, bridges and hosts of the lab.
        (
            (f"{MAPPINGS}: 'extnet:br-ex,b:br-b'", f"{IFACES}: 'br-ex:enp0s3,br-b:eth0'"),
            f"{FIRST + 1}:39: deployment.answers.{IFACES}: expected a card that is on 'one' ('enp0s3', 'enp0s8', 'enp0s9'), found 'eth0', which 'one' does not have",
        ),
        (
            (f"{MAPPINGS}: 'extnet:br-ex,b:br-b'", f"{IFACES}: 'br-ex:enp0s3,br-b:enp0s8'"),
            f"{FIRST + 1}:39: deployment.answers.{IFACES}: expected another card than that of the tunnels, whose address would move to the bridge, found 'br-b:enp0s8'",
        ),
        (
            (f"{IFACES}: 'br-ex:enp0s3,br-b:enp0s9'",),
            f"{FIRST}:39: deployment.answers.{IFACES}: expected a bridge of '{MAPPINGS}' ('br-ex'), found 'br-b'",
        ),
        (
            (f"{COMPUTE}: br-b",),
            f"{FIRST}:41: deployment.answers.{COMPUTE}: expected a bridge of '{MAPPINGS}' ('br-ex'), found 'br-b'",
        ),
        (
            (f"{MAPPINGS}: 'extnet:br-ex,b:br-b'", f"{COMPUTE}: br-b"),
            f"{FIRST + 1}:41: deployment.answers.{COMPUTE}: expected a bridge with a card in '{IFACES}' ('br-ex'), found 'br-b'",
        ),
        (
            (
                f"{MAPPINGS}: 'extnet:br-ex,b:br-b'",
                f"{IFACES}: 'br-ex:enp0s3,br-b:enp0s9'",
                f"{COMPUTE}: br-b",
            ),
            f"{FIRST + 2}:41: deployment.answers.{COMPUTE}: expected a card that is on 'two' ('enp0s3', 'enp0s8'), found 'enp0s9', which 'two' does not have",
        ),
        (
            (f"{MAPPINGS}: 'extnet:br-ex,b:br-int'",),
            f"{FIRST}:41: deployment.answers.{MAPPINGS}: expected a bridge with a name of its own, such as 'br-ex', found 'br-int', a card of the lab or Neutron's own bridge",
        ),
        (
            ("CONFIG_NEUTRON_L3_EXT_BRIDGE: enp0s3",),
            f"{FIRST}:35: deployment.answers.CONFIG_NEUTRON_L3_EXT_BRIDGE: expected a bridge with a name of its own, such as 'br-ex', found 'enp0s3', a card of the lab or Neutron's own bridge",
        ),
        (
            ("CONFIG_NEUTRON_ML2_SRIOV_INTERFACE_MAPPINGS: extnet:eth1",),
            f"{FIRST}:50: deployment.answers.CONFIG_NEUTRON_ML2_SRIOV_INTERFACE_MAPPINGS: expected a card that is on 'two' ('enp0s3', 'enp0s8'), found 'eth1', which 'two' does not have",
        ),
        (
            ("CONFIG_PROVISION_TEMPEST: y", "CONFIG_TEMPEST_HOST: 10.0.0.99"),
            f"{FIRST + 1}:26: deployment.answers.CONFIG_TEMPEST_HOST: expected the address of a node of the lab ('10.0.0.3', '10.0.0.5'), found '10.0.0.99'",
        ),
        # Networks of Neutron.
        (
            (f"{TENANTS}: vxlan,gre",),
            f"{FIRST}:46: deployment.answers.{TENANTS}: expected types of tenant networks that are in '{TYPES}', found 'gre', without whose driver Neutron does not start",
        ),
        (
            (f"{TYPES}: vxlan,flat,vlan", f"{TENANTS}: vxlan,vlan"),
            f"{FIRST + 1}:46: deployment.answers.{TENANTS}: expected a range in '{VLANS}', from which a tenant network of type vlan gets its number, found none",
        ),
        (
            (f"{TYPES}: vxlan,flat,vlan", f"{TENANTS}: vxlan,vlan", f"{VLANS}: extnet"),
            f"{FIRST + 2}:37: deployment.answers.{VLANS}: expected a range in '{VLANS}', from which a tenant network of type vlan gets its number, found none",
        ),
        (
            (f"{VNIS}: ''",),
            f"{FIRST}:36: deployment.answers.{VNIS}: expected a range in '{VNIS}', from which a tenant network of type vxlan gets its number, found none",
        ),
        (
            (f"{TYPES}: vxlan,flat,geneve", f"{TENANTS}: vxlan,geneve"),
            f"{FIRST + 1}:46: deployment.answers.{TENANTS}: expected no 'geneve', which Packstack sets up with OVN alone, found 'geneve'",
        ),
        (
            ("CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS: openvswitch,ovn",),
            f"{FIRST}:43: deployment.answers.CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS: expected no 'ovn', as the agent is openvswitch, found 'ovn'",
        ),
        (
            (f"{VLANS}: other:1:9",),
            f"{FIRST}:37: deployment.answers.{VLANS}: expected a physical network of '{MAPPINGS}' ('extnet'), found 'other'",
        ),
        (
            ("CONFIG_NEUTRON_ML2_FLAT_NETWORKS: other",),
            f"{FIRST}:39: deployment.answers.CONFIG_NEUTRON_ML2_FLAT_NETWORKS: expected a physical network of '{MAPPINGS}' ('extnet'), found 'other'",
        ),
        (
            ("CONFIG_NEUTRON_OVS_EXTERNAL_PHYSNET: other",),
            f"{FIRST}:42: deployment.answers.CONFIG_NEUTRON_OVS_EXTERNAL_PHYSNET: expected a physical network of '{MAPPINGS}' ('extnet'), found 'other'",
        ),
        # Answers beside each other.
        (
            ("CONFIG_GLANCE_INSTALL: n",),
            f"{FIRST}:28: deployment.answers.CONFIG_GLANCE_INSTALL: expected 'y', as Packstack installs no Nova without Glance, found 'n'",
        ),
        (
            ("CONFIG_GLANCE_INSTALL: ''",),
            f"{FIRST}:28: deployment.answers.CONFIG_GLANCE_INSTALL: expected 'y', as Packstack installs no Nova without Glance, found ''",
        ),
        (
            ("CONFIG_SWIFT_INSTALL: n", "CONFIG_GLANCE_BACKEND: swift"),
            f"{FIRST + 1}:28: deployment.answers.CONFIG_GLANCE_BACKEND: expected 'file' while Swift is not installed, as Packstack would take it without a word, found 'swift'",
        ),
        (
            ("CONFIG_SAHARA_INSTALL: y",),
            f"{FIRST}:28: deployment.answers.CONFIG_SAHARA_INSTALL: expected 'CONFIG_HEAT_INSTALL' beside it with 'y' while Sahara is installed, as Packstack would take it without a word, found 'y' with 'CONFIG_HEAT_INSTALL' at 'n'",
        ),
        (
            ("CONFIG_MARIADB_INSTALL: n",),
            f"{FIRST}:29: deployment.answers.CONFIG_MARIADB_INSTALL: expected 'y', as the database is on the controller like all else that has a host key, found 'n'",
        ),
        (
            ("CONFIG_HORIZON_SSL: y", "CONFIG_HORIZON_SSL_CERT: /root/a.crt"),
            f"{FIRST + 1}:30: deployment.answers.CONFIG_HORIZON_SSL_CERT: expected 'CONFIG_HORIZON_SSL_KEY' and 'CONFIG_HORIZON_SSL_CACERT' beside it, found '/root/a.crt' alone",
        ),
        (
            ("CONFIG_CINDER_BACKEND: nfs",),
            f"{FIRST}:28: deployment.answers.CONFIG_CINDER_BACKEND: expected 'CONFIG_CINDER_NFS_MOUNTS' beside it with NFS exports such as '192.0.2.1:/export', with commas between them, found 'nfs' without it",
        ),
        (
            ("CONFIG_HEAT_DOMAIN: other",),
            f"{FIRST}:5: deployment.answers.CONFIG_HEAT_DOMAIN: expected no 'CONFIG_HEAT_DOMAIN' here, which Packstack passes over ('CONFIG_HEAT_INSTALL' is 'n'), found 'CONFIG_HEAT_DOMAIN'",
        ),
        (
            ("CONFIG_NEUTRON_OVN_TUNNEL_IF: enp0s8",),
            f"{FIRST}:5: deployment.answers.CONFIG_NEUTRON_OVN_TUNNEL_IF: expected no 'CONFIG_NEUTRON_OVN_TUNNEL_IF' here, which Packstack passes over ('CONFIG_NEUTRON_INSTALL' is 'y', 'CONFIG_NEUTRON_L2_AGENT' is 'openvswitch'), found 'CONFIG_NEUTRON_OVN_TUNNEL_IF'",
        ),
    ],
)  # fmt: skip -- one problem, one line
def test_case_12_answer_that_contradicts_another_or_the_lab_is_refused_where_it_stands(
    answers: tuple[str, ...], problem: str
) -> None:
    assert problems(*answers) == [problem]


@pytest.mark.parametrize(
    "answers",
    [
        (f"{COMPUTE}: br-ex",),
        (f"{MAPPINGS}: 'a:br-a, extnet:br-ex'",),
        (f"{MAPPINGS}: 'extnet:br-ex,b:br-b'", f"{IFACES}: 'br-ex:enp0s3, br-b:enp0s9'"),
        (f"{TYPES}: 'vxlan, flat, vlan'", f"{TENANTS}: 'vxlan,vlan'", f"{VLANS}: extnet:1:9"),
        ("CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS: openvswitch, l2population",),
        ("CONFIG_NEUTRON_ML2_FLAT_NETWORKS: '*'",),
        ("CONFIG_SAHARA_INSTALL: y", "CONFIG_HEAT_INSTALL: y"),
        ("CONFIG_CINDER_BACKEND: nfs", "CONFIG_CINDER_NFS_MOUNTS: 192.0.2.1:/a"),
        ("CONFIG_HORIZON_SSL: y",),
        ("CONFIG_PROVISION_TEMPEST: y", "CONFIG_TEMPEST_HOST: 10.0.0.5"),
        ("CONFIG_SWIFT_INSTALL: n", "CONFIG_CEILOMETER_INSTALL: n", "CONFIG_AODH_INSTALL: n"),
        # As in an answer file that Packstack wrote: what it passes over has its default or nothing.
        ("CONFIG_HEAT_DOMAIN: heat", "CONFIG_RH_USER: ''", "CONFIG_HEAT_DB_PW: abc"),
    ],
)
def test_answers_that_go_together_have_no_problem(answers: tuple[str, ...]) -> None:
    assert problems(*answers) == []


def test_answer_with_a_fault_of_its_own_is_one_problem_and_no_other_rests_on_it() -> None:
    [line] = problems("CONFIG_HEAT_INSTALL: perhaps", "CONFIG_HEAT_DOMAIN: other")
    assert "expected 'y' or 'n', found 'perhaps'" in line
    [line] = problems(f"{MAPPINGS}: extnet", f"{COMPUTE}: br-ex")
    assert "pairs such as" in line


def test_every_condition_of_the_table_can_be_judged() -> None:
    table = {option.key: option for option in options.options()}
    for option in options.options():
        named = conditions.keys(option.condition)
        assert (named == ()) == (option.condition == "-")
        assert set(named) <= set(table)
        assert conditions.holds(option.condition, lambda key: table[key].default) in {True, False}


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("-", True),
        ("A_B=y", True),
        ("A_B=n", False),
        ("LIST~b", True),
        ("LIST~a,", False),
        ("EMPTY!", False),
        ("EMPTY!|A_B!", True),
        ("A_B=y LIST~c", False),
        ("A_B=n|A_B=y LIST~a", True),
    ],
)
def test_condition_holds_when_all_its_terms_do(condition: str, *, found: bool) -> None:
    values = {"A_B": "y", "LIST": "a, b", "EMPTY": ""}
    assert conditions.holds(condition, values.__getitem__) is found


def test_every_vmware_cluster_needs_a_compute_node() -> None:
    beside = ("CONFIG_VMWARE_BACKEND: y", "CONFIG_VCENTER_HOST: 192.0.2.9")
    assert problems(*beside, "CONFIG_VCENTER_CLUSTER_NAMES: a") == []
    [line] = problems(*beside, "CONFIG_VCENTER_CLUSTER_NAMES: a,b")
    assert "expected one vCenter cluster in 'CONFIG_VCENTER_CLUSTER_NAMES', or 1, as many" in line
    [line] = problems(*beside)
    assert "found 0" in line

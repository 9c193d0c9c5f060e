from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.lab import options, releases
from labkit.lab.options import Random, find, problem
from labkit.lab.topology import Release

# What only Packstack can judge, because it takes the guest or the network to do it.
LEFT_TO_PACKSTACK = {
    "ssh": "whether the host answers on port 22",
    "multi_ssh": "whether the hosts answer on port 22",
    "multi_ping": "whether the hosts answer to a ping",
    "file": "whether the file exists on the controller",
    "sshkey": "whether the file holds a public SSH key",
    "writeable_directory": "whether the directory can be written on the controller",
    "ldap_url": "whether python-ldap reads it as a URL",
    "ldap_dn": "whether python-ldap reads it as a distinguished name",
}


@pytest.mark.parametrize(
    ("release", "count"),
    [(Release.QUEENS, 316), (Release.ROCKY, 315), (Release.STEIN, 315), (Release.TRAIN, 315)],
)
def test_table_has_every_key_once_and_all_its_option_names_are_different(
    release: Release, count: int
) -> None:
    keys = [option.key for option in options.options(release)]
    flags = [option.cli for option in options.options(release) if option.cli]
    assert len(keys) == len(set(keys)) == count
    assert len(flags) == len(set(flags)) == count - 29
    assert all(flag.startswith("--") for flag in flags)


@pytest.mark.parametrize("release", Release)
def test_table_knows_the_keys_packstack_makes_up(release: Release) -> None:
    kinds = [option.random for option in options.options(release) if option.random]
    assert kinds.count(Random.PASSWORD) == 38
    assert (kinds.count(Random.HEX16), kinds.count(Random.HEX32)) == (3, 2)
    assert all(option.masked for option in options.options(release) if option.random)


@pytest.mark.parametrize("release", Release)
def test_secrets_are_the_same_in_every_release(release: Release) -> None:
    secret = {option.key for option in options.options(release) if option.secret}
    assert secret == {*options.secret_keys()}


@pytest.mark.parametrize("release", Release)
def test_every_validator_is_judged_here_or_said_to_be_packstacks(release: Release) -> None:
    used = {name for option in options.options(release) for name in option.validators}
    assert used == set(options.JUDGES) | set(LEFT_TO_PACKSTACK)
    assert not set(options.JUDGES) & set(LEFT_TO_PACKSTACK)


@pytest.mark.parametrize("release", Release)
def test_every_default_is_accepted(release: Release) -> None:
    judged = [
        each for each in options.options(release) if each.default and "<" not in each.default
    ]
    assert len(judged) > 150
    found = {each.key: problem(each.key, each.default, release) for each in judged}
    assert {key: lacks for key, lacks in found.items() if lacks} == {}


@pytest.mark.parametrize("release", Release)
def test_percent_and_parenthesis_are_refused_where_the_parser_reads_them(release: Release) -> None:
    lacks = problem("CONFIG_VNC_SSL_CERT", "%(x)s", release)
    assert (lacks is None) == (release in {Release.STEIN, Release.TRAIN})


@pytest.mark.parametrize("release", Release)
def test_answers_that_a_release_needs_are_keys_of_it_and_accepted(release: Release) -> None:
    needed = releases.facts(release).answers
    assert {key: problem(key, value, release) for key, value in needed.items()} == dict.fromkeys(
        needed
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CONFIG_SERVICE_WORKERS", "%{::processorcount}"),
        ("CONFIG_SERVICE_WORKERS", ""),
        ("CONFIG_NOVA_LIBVIRT_VIRT_TYPE", "%{::default_hypervisor}"),
        ("CONFIG_NOVA_LIBVIRT_VIRT_TYPE", "kvm"),
        ("CONFIG_KEYSTONE_DB_PURGE_ENABLE", "True"),
        ("CONFIG_HEAT_INSTALL", ""),
        ("CONFIG_NEUTRON_ML2_TYPE_DRIVERS", "vxlan, flat,vlan"),
        ("CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", "1e1"),
        ("CONFIG_REDIS_PORT", "65534"),
        ("CONFIG_VCENTER_HOST", "2001:db8::1"),
        ("CONFIG_CINDER_NFS_MOUNTS", "192.0.2.1:/a,[2001:db8::1]:/b"),
        ("CONFIG_CINDER_GLUSTER_MOUNTS", "192.0.2.1:/a, host.example:/b"),
        ("CONFIG_CINDER_NETAPP_WEBSERVICE_PATH", "/devmgr/v2"),
        ("CONFIG_SWIFT_STORAGE_SIZE", "10G"),
        ("CONFIG_SWIFT_STORAGES", "/dev/vdb,/dev/vdc"),
        ("CONFIG_KEYSTONE_ADMIN_PW", "Abc-1._x"),
        ("CONFIG_DEFAULT_PASSWORD", ""),
        ("CONFIG_SSH_KEY", "/no/such/file"),
        ("CONFIG_RH_PW", "any thing; else#"),
        ("CONFIG_MANILA_GENERIC_VOLUME_NAME_TEMPLATE", "share-%s-100%%"),
    ],
)
def test_value_packstack_accepts_has_no_problem(key: str, value: str) -> None:
    assert problem(key, value) is None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("CONFIG_HEAT_INSTALL", "yes", "'y' or 'n'"),
        ("CONFIG_HEAT_INSTALL", "Y", "'y' or 'n'"),
        ("CONFIG_NEUTRON_INSTALL", "n", "'y', as this release"),
        ("CONFIG_NEUTRON_INSTALL", "", "'y', as this release"),
        ("CONFIG_KEYSTONE_REGION", "", "not empty"),
        ("CONFIG_KEYSTONE_DB_PURGE_ENABLE", "maybe", "'y' or 'n'"),
        ("CONFIG_NOVA_LIBVIRT_VIRT_TYPE", "xen", "'qemu' or 'kvm'"),
        ("CONFIG_NEUTRON_ML2_TYPE_DRIVERS", "vxlan,token-ring", "one or more of 'local'"),
        ("CONFIG_SWIFT_STORAGE_ZONES", "1_0", "a whole number"),
        ("CONFIG_SWIFT_STORAGE_ZONES", "%{::processorcount}", "a whole number"),
        ("CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", "1_6", "a number"),
        ("CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", "much", "a number"),
        ("CONFIG_REDIS_PORT", "65535", "a port from 0 to 65534"),
        ("CONFIG_REDIS_PORT", "-1", "a port"),
        ("CONFIG_VCENTER_HOST", "vcenter.example", "an IPv4 or IPv6 address"),
        ("CONFIG_CINDER_NFS_MOUNTS", "2001:db8::1:/b", "NFS exports"),
        ("CONFIG_CINDER_NFS_MOUNTS", "[192.0.2.1]:/b", "NFS exports"),
        ("CONFIG_CINDER_NFS_MOUNTS", "192.0.2.1:/", "NFS exports"),
        ("CONFIG_CINDER_NFS_MOUNTS", "", "NFS exports"),
        ("CONFIG_CINDER_NFS_MOUNTS", "[]:/b", "NFS exports"),
        ("CONFIG_CINDER_GLUSTER_MOUNTS", "192.0.2.1:/a,-:/b", "matches"),
        ("CONFIG_CINDER_NETAPP_WEBSERVICE_PATH", "devmgr", "matches"),
        ("CONFIG_SWIFT_STORAGE_SIZE", "", "a size"),
        ("CONFIG_SWIFT_STORAGE_SIZE", "G", "a size"),
        ("CONFIG_SWIFT_STORAGES", "vdb", "a device's path"),
        ("CONFIG_KEYSTONE_ADMIN_PW", "p@ss", "Packstack escapes nothing"),
        ("CONFIG_KEYSTONE_ADMIN_PW", "", "Packstack escapes nothing"),
        ("CONFIG_DEFAULT_PASSWORD", "it's", "Packstack escapes nothing"),
        # The parser's traps.
        ("CONFIG_VNC_SSL_CERT", "a ;b", "' ;'"),
        ("CONFIG_VNC_SSL_CERT", "a\u00a0;b", "ASCII"),
        ("CONFIG_VNC_SSL_CERT", ";b", "' ;'"),
        ("CONFIG_VNC_SSL_CERT", "%(x)s", "'%('"),
        ("CONFIG_VNC_SSL_CERT", "a\nCONFIG_B=c", "one line"),
        ("CONFIG_VNC_SSL_CERT", "a\0", "one line"),
        ("CONFIG_VNC_SSL_CERT", " a", "without blanks"),
        ("CONFIG_VNC_SSL_CERT", "a ", "without blanks"),
        ("CONFIG_VNC_SSL_CERT", '""', "empty value"),
        ("CONFIG_VNC_SSL_CERT", "网络", "ASCII"),
    ],
)
def test_value_packstack_refuses_is_told_what_was_expected(
    key: str, value: str, expected: str
) -> None:
    assert expected in str(problem(key, value))


@given(key=st.sampled_from([option.key for option in options.options()]), value=st.text())
def test_problem_answers_for_any_text(key: str, value: str) -> None:
    found = problem(key, value)
    assert found is None or found


def test_problem_of_an_unknown_key_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="CONFIG_NO_SUCH"):
        problem("CONFIG_NO_SUCH", "")


def test_find_does_not_tell_capitals_from_small_letters() -> None:
    found = find("config_lbaas_install")
    assert found
    assert found.cli == "--os-neutron-lbaas-install"
    assert find("CONFIG_NO_SUCH") is None


def test_replacement_of_a_deprecated_key_is_the_key_that_reads_it() -> None:
    newer = options.replacement("CONFIG_NOVA_COMPUTE_HOSTS")
    assert newer
    assert newer.key == "CONFIG_COMPUTE_HOSTS"
    assert options.replacement("CONFIG_COMPUTE_HOSTS") is None


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("CONFIG_LBAS_INSTALL", "CONFIG_LBAAS_INSTALL"),
        ("LBAAS_INSTALL", "CONFIG_LBAAS_INSTALL"),
        ("CONFIG_NEUTRON_OVS_TUNEL_IF", "CONFIG_NEUTRON_OVS_TUNNEL_IF"),
    ],
)
def test_close_keys_of_a_slip_start_with_what_was_meant(key: str, meant: str) -> None:
    assert options.close_keys(key)[0] == meant


def test_close_keys_of_nonsense_are_none() -> None:
    assert options.close_keys("HELLO") == ()

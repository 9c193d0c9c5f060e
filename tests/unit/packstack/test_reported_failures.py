"""Failures as people have reported them: what labkit says of each, and what it shows."""

from __future__ import annotations

import pytest

from labkit.packstack.explain import explain, shown_errors

MANIFEST = "192.0.2.32_controller.pp"


def output(error: str) -> str:
    """Return what Packstack prints when a manifest fails: it repeats Puppet's first line."""
    return f"""\
Installing:
Applying {MANIFEST}
{MANIFEST}:                         [ ERROR ]
Applying Puppet manifests                         [ ERROR ]

ERROR : Error appeared during Puppet run: {MANIFEST}
{error}
You will find full trace in log /var/tmp/packstack/x/manifests/{MANIFEST}.log
Please check log file /var/tmp/packstack/x/openstack-setup.log for more information
"""


def told(error: str, *, in_puppet: bool) -> list[str]:
    """Return the names of what is known of an error, from Puppet's log or Packstack's output."""
    puppet = {"controller": f"Notice: Compiled catalog\n{error}\n"} if in_puppet else {}
    first = error.splitlines()[0] if not in_puppet else "Error: of another kind"
    return [found.failure.id for found in explain(output(first), puppet)]


def journal(lines: int) -> str:
    head = "Error: Systemd start for neutron-server failed!\njournalctl log for neutron-server:\n"
    noise = "".join(f"Sep 29 13:43:1{i % 5} a[1]: warning {i}\n" for i in range(lines))
    return f"{head}{noise}Sep 29 13:43:20 a[1]: ImportError: no driver 'openvswich'"


REPORTED = [
    pytest.param(journal(48), "service", id="case-04-systemd-start"),
    pytest.param(
        "Error: Systemd start for httpd failed!\njournalctl log for httpd:", "service", id="httpd"
    ),
    pytest.param(
        "Error: Execution of '/usr/bin/mysql --database=mysql -e SET PASSWORD FOR "
        "'root'@'localhost' = '*BFA8'' returned 1: ERROR 1290 (HY000) at line 1: The MariaDB "
        "server is running with the --strict-password-validation option so it cannot execute "
        "this statement",
        "mariadb-strict-password",
        id="case-05-strict-password",
    ),
    pytest.param(
        "Error: unable to connect to node rabbit@controller: nodedown",
        "rabbitmq-host",
        id="case-26-nodedown",
    ),
    pytest.param(
        "Error: Systemd start for rabbitmq-server failed!", "rabbitmq-host", id="rabbitmq-systemd"
    ),
    pytest.param(
        "Error: Could not prefetch keystone_service provider 'openstack': Command: 'openstack "
        '["service", "list"]\' has been running for more than 40 seconds (tried 4, for a total '
        "of 170 seconds)",
        "slow-openstack",
        id="A2-forty-seconds",
    ),
    pytest.param(
        "Error: Could not prefetch keystone_tenant provider 'openstack': Could not authenticate",
        "keystone-auth",
        id="A2-could-not-authenticate",
    ),
    pytest.param(
        "Error: Execution of '/usr/bin/rpm -e mariadb-server-10.1.20-2.el7.x86_64' returned 1: "
        "error: Failed dependencies:",
        "mariadb-removed",
        id="A3-repositories-silent",
    ),
    pytest.param(
        "Error: Could not find data item CONFIG_USE_SUBNETS in any Hiera data file",
        "hiera",
        id="A9-hiera",
    ),
    pytest.param(
        "Error: /Stage[main]/Nova::Cell_v2::Discover_hosts/Exec[nova-cell_v2-discover_hosts]: "
        "Failed to call refresh: nova-manage  cell_v2 discover_hosts returned 1 instead of one of [0]",
        "cell-race",
        id="several-computes-at-once",
    ),
    pytest.param("Error: Couldn't resolve host 'vault.example.org'", "dns", id="A9-resolve-host"),
    pytest.param(
        "Error: Cannot retrieve repository metadata (repomd.xml) for repository: x",
        "repository",
        id="A9-repository-metadata",
    ),
    pytest.param("Error: Error downloading packages:", "repository", id="A9-downloading"),
]


@pytest.mark.parametrize(("error", "known"), REPORTED)
@pytest.mark.parametrize("in_puppet", [True, False], ids=["puppet", "packstack"])
def test_reported_failure_is_named_from_either_text(
    error: str, known: str, *, in_puppet: bool
) -> None:
    assert told(error, in_puppet=in_puppet)[0] == known


def test_case_26_package_that_requires_the_newer_qemu_names_its_repository() -> None:
    error = (
        "Error: Execution of '/usr/bin/yum -d 0 -e 0 -y install openstack-nova-compute' returned "
        "1: Error: Package: 1:openstack-nova-compute-17.0.10-1.el7.noarch (openstack-queens)\n"
        "           Requires: qemu-kvm-rhev >= 2.10.0"
    )
    assert told(error, in_puppet=True)[0] == "kvm-common"
    # Packstack repeats the first line alone, which names no cause.
    assert told(error, in_puppet=False) == ["dependency"]


def test_case_04_end_of_a_journal_is_shown_and_not_its_beginning() -> None:
    lines = shown_errors({"controller": journal(48)})
    assert lines[0].startswith("controller: Systemd start for neutron-server failed!")
    assert lines[-1].endswith("ImportError: no driver 'openvswich'")
    assert not any("warning 0" in line for line in lines)


def test_case_05_set_password_alone_blames_no_database_of_an_earlier_run() -> None:
    error = "Error: Execution of '/usr/bin/mysql -e SET PASSWORD FOR x' returned 1: ERROR 2013"
    assert "mariadb-leftover" not in told(error, in_puppet=True)

"""The known failures of Packstack Queens on CentOS 7: how each shows, its cause, its remedy.

A record's `source` says where the failure is known from: "source code" is Packstack stable/queens
(cfffafa9), "seen" means seen with that code, "public reports" are issue threads and forums.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Where(StrEnum):
    """In which text a failure shows."""

    OUTPUT = "Packstack's output"  # its error, tracebacks, and what tools print; stderr too
    BULLETS = "Packstack's additional information"
    PUPPET = "an error in Puppet's log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A known failure.

    Attributes:
        id: Its name in reports.
        where: The texts it shows in.
        pattern: What it shows by.
        cause: Its cause, in one sentence; `{name}` stands for a group of the pattern.
        remedy: The command or the lab file's key that mends it; as `cause`.
        source: Where it is known from.
        specificity: How much it explains: 0 that something failed, 1 what, 2 why.
        note: Whether a run that shows it may still have succeeded.
    """

    id: str
    where: frozenset[Where]
    pattern: re.Pattern[str]
    cause: str
    remedy: str
    source: str
    specificity: int = 2
    note: bool = False

    def cause_for(self, told: Mapping[str, str]) -> str:
        """Return the cause with what the pattern's groups matched."""
        return _filled(self.cause, told)

    def remedy_for(self, told: Mapping[str, str]) -> str:
        """Return the remedy with what the pattern's groups matched."""
        return _filled(self.remedy, told)


def _filled(text: str, told: Mapping[str, str]) -> str:
    # Not str.format: what matched comes from a guest and may hold braces itself.
    return re.sub(r"\{(\w+)\}", lambda name: told.get(name[1], "(unknown)"), text)


_OUTPUT = frozenset({Where.OUTPUT})
_PUPPET = frozenset({Where.PUPPET})
_BOTH = _OUTPUT | _PUPPET
_BULLETS = frozenset({Where.BULLETS})

_REPORTS = "public reports"
_CODE = "source code"
_SEEN = "source code, seen"


def _found(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


FAILURES: tuple[Failure, ...] = (
    Failure(
        id="mirrorlist",
        where=_BOTH,
        pattern=_found(r"Could not resolve host: mirrorlist\.centos\.org"),
        cause="CentOS 7's mirrors went off with its end of life on 2024-06-30.",
        remedy="Let 'repos.base' of lab.yaml name a vault or a mirror; 'labkit doctor --repos' shows what answers.",
        source=f"{_REPORTS}; end of life of CentOS 7",
        specificity=3,
    ),
    Failure(
        id="contentdir",
        where=_BOTH,
        pattern=_found(r"altarch/\S*(?: .*)?404|404\b.*altarch/"),
        cause="yum's variable 'contentdir' says 'altarch', as fresh 7.5.1804 installations have it.",
        remedy="Write 'centos' into /etc/yum/vars/contentdir on the node, then 'labkit deploy'.",
        source="redhat-openstack/website#1221",
        specificity=3,
    ),
    Failure(
        id="repository",
        where=_BOTH,
        pattern=_found(
            r"Cannot find a valid baseurl for repo: ?(?P<repo>\S*)|HTTP Error 404"
            r"|No more mirrors to try|failure: repodata/repomd\.xml from"
        ),
        cause="A package repository does not answer, or is not what it should be.",
        remedy="'labkit doctor --repos' shows which answer; set 'repos.base' or 'repos.fallbacks' of lab.yaml.",
        source=_REPORTS,
    ),
    Failure(
        id="dns",
        where=_BOTH,
        pattern=_found(
            r"Could not resolve host: (?!mirrorlist\.)(?P<host>[\w.-]+)|Temporary failure in name resolution"
            r"|Name or service not known"
        ),
        cause="A host name cannot be resolved in the node.",
        remedy="Set 'dns' of lab.yaml to servers that the nodes reach, or 'repos.proxy'.",
        source=_REPORTS,
    ),
    Failure(
        id="leatherman",
        where=_BOTH,
        pattern=_found(r"error while loading shared libraries: leatherman_curl\.so"),
        cause="EPEL's newer leatherman replaced the one that facter is built with.",
        remedy="On the node: 'yum-config-manager --disable epel; yum -y downgrade leatherman-1.3.0-9.el7'.",
        source=_REPORTS,
        specificity=3,
    ),
    Failure(
        id="setuptools",
        where=_OUTPUT,
        pattern=_found(r"No module named '?pkg_resources"),
        cause="python-setuptools is missing on the controller, so Packstack cannot load its plugins.",
        remedy="On the controller: 'yum -y install python-setuptools'.",
        source=f"{_REPORTS}; the package requires it since 12.0.1",
        specificity=3,
    ),
    Failure(
        id="qpid-proton",
        where=_BOTH,
        pattern=_found(
            r"(?:Package: |Requires: |install '?|Error: )\S*qpid-proton\S*|qpid-proton\S* conflicts"
        ),
        cause="A newer qpid-proton, EPEL's mostly, conflicts with the one of OpenStack Queens.",
        remedy=(
            "On the node: 'yum-config-manager --disable epel; "
            "yum -y downgrade python2-qpid-proton-0.22.0-1.el7 qpid-proton-c-0.22.0-1.el7'."
        ),
        source=_REPORTS,
        specificity=3,
    ),
    Failure(
        id="rabbitmq-host",
        where=_PUPPET,
        pattern=_found(
            r"(?:Could not start Service\[rabbitmq-server\]|rabbitmq-server\]?/ensure: change from \S+ to running failed"
            r"|epmd\b.*nxdomain|rabbitmq.*nxdomain)"
        ),
        cause="RabbitMQ does not start; mostly it cannot resolve the node's own host name.",
        remedy="The node's /etc/hosts needs '<address> <name>.<domain> <name>', as 'labkit up' writes it; 'journalctl -u rabbitmq-server' there says more.",
        source=_REPORTS,
    ),
    Failure(
        id="mariadb-leftover",
        where=_BOTH,
        pattern=_found(
            r"rpm -e \S*mariadb-server|mysqladmin\b.*(?:[Aa]ccess denied|returned 1)"
            r"|SET PASSWORD\b|Access denied for user 'root'@"
        ),
        cause="A database of an earlier run with other passwords, or a foreign one, is in the way.",
        remedy="'labkit restore pre-packstack', then 'labkit deploy'.",
        source=_REPORTS,
    ),
    Failure(
        id="keystone-auth",
        where=_PUPPET,
        pattern=_found(r"Could not prefetch keystone_\w+ provider\b.*|Could not authenticate"),
        cause="Keystone refuses Packstack's own credentials: passwords of an earlier run, httpd not running, or files unreadable for it.",
        remedy="'labkit restore pre-packstack', then 'labkit deploy'; root's umask has to be 0022.",
        source=_REPORTS,
    ),
    Failure(
        id="tunnel-if",
        where=_OUTPUT,
        pattern=_found(
            r"Couldn't detect ipaddress of interface (?P<nic>\S+) on node (?P<node>\S+)"
        ),
        cause="Packstack looks up the address of '{nic}' on {node} and facter 3 no longer tells it; or the card has no address there.",
        remedy="Set 'deployment.answers.CONFIG_NEUTRON_OVS_TUNNEL_SUBNETS' of lab.yaml to the tunnels' network: then nothing is looked up.",
        source=f"{_SEEN}; rhbz#1734354",
        specificity=3,
    ),
    Failure(
        id="bridge-lists",
        where=_OUTPUT,
        pattern=_found(r"Couldn't find element (?P<element>.*)"),
        cause="A bridge of CONFIG_NEUTRON_OVS_BRIDGES_COMPUTE is missing in the mappings or interfaces.",
        remedy="Name it in CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS and _IFACES too, under 'deployment.answers' of lab.yaml.",
        source=_CODE,
    ),
    Failure(
        id="ntp",
        where=_BOTH,
        pattern=_found(r"ntpdate\b.*returned [1-9]|no server suitable for synchronization found"),
        cause="The time servers of CONFIG_NTP_SERVERS cannot be reached from the node.",
        remedy="Remove 'deployment.answers.CONFIG_NTP_SERVERS' from lab.yaml, or name servers that the nodes reach.",
        source=_REPORTS,
        specificity=3,
    ),
    Failure(
        id="missing-package",
        where=_BOTH,
        pattern=_found(
            r"Package (?P<package>\S+) has not been found in enabled Yum repos"
            r"|yum\b.* install '?(?P<asked>[^\s']+)'?.*Nothing to do|^No package (?P<named>\S+) available"
        ),
        cause="A package that Puppet installs is in none of the node's enabled repositories.",
        remedy="'labkit doctor --repos' shows what the repositories hold; all have to be of one 'repos.release' of lab.yaml.",
        source=_CODE,
    ),
    Failure(
        id="no-space",
        where=_BOTH,
        pattern=_found(
            r"No space left on device|At least \d+\w+ more space needed|Disk quota exceeded"
        ),
        cause="The node's disk is full.",
        remedy="'labkit ssh NODE df -h' shows where; give the node a larger 'disk' in lab.yaml, then 'labkit destroy' and 'labkit up'.",
        source=_REPORTS,
        specificity=3,
    ),
    Failure(
        id="oom",
        where=_BOTH,
        pattern=_found(
            r"Cannot allocate memory|[Oo]ut of memory|oom-killer|failed to allocate memory"
        ),
        cause="The node's memory ran out.",
        remedy="Give it more 'memory' in lab.yaml (RDO asks for 16 GiB), or set 'deployment.answers.CONFIG_SERVICE_WORKERS: 1'.",
        source=_REPORTS,
        specificity=3,
    ),
    Failure(
        id="timeout",
        where=_PUPPET,
        pattern=_found(r"Command exceeded timeout|execution expired"),
        cause="A command of Puppet took longer than Packstack's limit for one, 300 seconds by default.",
        remedy="Give the node more 'cpus' or a nearer 'repos.base' in lab.yaml, then 'labkit deploy' again: what is done stays done.",
        source=_CODE,
    ),
    Failure(
        id="ssh-permission",
        where=_OUTPUT,
        pattern=_found(r"Permission denied \(publickey[^)]*\)|Host key verification failed"),
        cause="The controller's root cannot log in as root on a node.",
        remedy="'labkit up' puts the keys between the nodes in place again; sshd needs 'PermitRootLogin prohibit-password'.",
        source=_SEEN,
        specificity=3,
    ),
    Failure(
        id="host-unreachable",
        where=_OUTPUT,
        pattern=_found(
            r"Given host is unreachable: (?P<host>\S+)|ssh: connect to host (?P<peer>\S+) port 22: .*"
        ),
        cause="A host of the answer file does not answer on port 22.",
        remedy="'labkit status' shows which node is down, 'labkit up' starts it.",
        source=_CODE,
        specificity=3,
    ),
    Failure(
        id="host-format",
        where=_OUTPUT,
        pattern=_found(r"Inconsistent host format"),
        cause="The answer file names hosts both by address and by name.",
        remedy="Use IPv4 addresses alone in the host keys under 'deployment.answers' of lab.yaml.",
        source=_CODE,
        specificity=3,
    ),
    Failure(
        id="validation",
        where=_OUTPUT,
        pattern=_found(r"Parameter (?P<key>\S+) failed validation: (?P<reason>.*)"),
        cause="Packstack refuses the value of {key}: {reason}",
        remedy="Mend 'deployment.answers.{key}' in lab.yaml.",
        source=_SEEN,
    ),
    Failure(
        id="answer-file",
        where=_OUTPUT,
        pattern=_found(r"Failed handling answer file: (?P<reason>.*)"),
        cause="Packstack cannot use the answer file: {reason}",
        remedy="Mend the key under 'deployment.answers' of lab.yaml; 'labkit render DIR' shows the answer file.",
        source=_SEEN,
        specificity=1,
    ),
    Failure(
        id="no-default-gateway",
        where=_OUTPUT,
        pattern=_found(r"Local IP address discovery failed"),
        cause="The controller has no default route, and Packstack finds its own address by that.",
        remedy="Set 'gateway' of the controller's network in lab.yaml, then 'labkit up'.",
        source=_SEEN,
        specificity=3,
    ),
    Failure(
        id="options",
        where=_OUTPUT,
        pattern=_found(r"mutually exclusive to all other|use either --allinone or --answer-file"),
        cause="An answer file does not go with other options of the command.",
        remedy="Set 'deployment.form' of lab.yaml to 'answer-file'.",
        source=_SEEN,
    ),
    Failure(
        id="dependency",
        where=_BOTH,
        pattern=_found(
            r"Failed dependencies:|Requires: \S+.*|Protected multilib versions|Transaction check error"
        ),
        cause="Packages conflict: mostly those of another release tree, or of EPEL.",
        remedy="Keep EPEL off, and all repositories on one 'repos.release' of lab.yaml.",
        source=_REPORTS,
        specificity=1,
    ),
    Failure(
        id="service",
        where=_PUPPET,
        pattern=_found(r"Could not start Service\[(?!rabbitmq-server)(?P<service>[^\]]+)\]"),
        cause="The service '{service}' does not start.",
        remedy="'labkit ssh NODE journalctl -u {service}' says why.",
        source=_REPORTS,
        specificity=1,
    ),
    Failure(
        id="puppet",
        where=_OUTPUT,
        pattern=_found(
            r"Error appeared during Puppet run: (?P<manifest>\S+)(?:\n(?!You will find full trace).*)?"
        ),
        cause="Puppet failed in {manifest}; labkit does not know this error.",
        remedy="The log of {manifest} is among the collected logs; its first 'Error:' counts.",
        source=_CODE,
        specificity=0,
    ),
    Failure(
        id="script",
        where=_OUTPUT,
        pattern=_found(r"Failed to (?:run remote script|execute command), stdout"),
        cause="A script of Packstack failed on a node.",
        remedy="The end of the error, and openstack-setup.log among the collected logs, say in which command.",
        source=_CODE,
        specificity=0,
    ),
    Failure(
        id="kernel-reboot",
        where=_BULLETS,
        pattern=_found(r"Because of the kernel update the host (?P<host>\S+) requires reboot"),
        cause="The host {host} runs an older kernel than the one installed.",
        remedy="Restart the node: 'labkit ssh NODE reboot'. 'labkit deploy' updates and restarts nodes before Packstack runs.",
        source=_CODE,
        note=True,
    ),
    Failure(
        id="network-manager",
        where=_BULLETS,
        pattern=_found(r"Warning: NetworkManager is active on (?P<hosts>.+?)\. "),
        cause="NetworkManager is active on {hosts}, and OpenStack's networking does not work beside it.",
        remedy="On the node: 'systemctl disable --now NetworkManager', then 'systemctl enable --now network'.",
        source=_CODE,
        note=True,
    ),
)

"""Which logs of a node are collected, how they travel, and what is blacked out in them."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.lab.answers import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The end of a log is what explains a failure; a whole Puppet debug log can be hundreds of MB.
LOG_BYTES = 2 * 1024 * 1024
# What could be read as a password in the middle of ordinary text is not blacked out.
SHORTEST_SECRET = 8

# Hiera data and answer files hold every password in the clear and stay in the guest.
_GATHER = """\
export LC_ALL=C
umask 077
shopt -s nullglob
out=$(mktemp -d)
trap 'rm -rf -- "$out"' EXIT
take() { # name in the archive, file
  [ -f "$2" ] || return 0
  mkdir -p "$out/$(dirname "$1")"
  tail -c @BYTES@ "$2" >"$out/$1"
}
say() { # name in the archive, command
  local name=$1
  shift
  mkdir -p "$out/$(dirname "$name")"
  timeout 20 "$@" >"$out/$name" 2>&1 || true
}
for run in /var/lib/labkit/runs/*/; do
  name=${run%/}
  take "runs/${name##*/}/output.log" "$run/output.log"
  take "runs/${name##*/}/status" "$run/status"
done
latest=$(readlink -f /var/tmp/packstack/latest 2>/dev/null || true)
if [ -n "$latest" ]; then
  take packstack/openstack-setup.log "$latest/openstack-setup.log"
  for log in "$latest"/manifests/*.log; do take "packstack/manifests/${log##*/}" "$log"; done
fi
for log in /var/tmp/packstack/*/manifests/*.running /var/tmp/packstack/*/manifests/*.finished; do
  take "puppet/${log##*/}" "$log"
done
for log in /var/log/messages /var/log/audit/audit.log /var/log/yum.log \\
  /var/log/{nova,neutron,keystone,glance,cinder,rabbitmq,mariadb,openvswitch,httpd}/*.log; do
  take "log/${log#/var/log/}" "$log"
done
for file in /etc/sysconfig/network-scripts/ifcfg-*; do take "network/${file##*/}" "$file"; done
say network/ip-addr.txt ip addr
say network/ip-route.txt ip route
say network/ovs-vsctl-show.txt ovs-vsctl show
say system/failed-units.txt systemctl --failed --no-pager --plain
say system/journal.txt journalctl -b --no-pager -n 3000
say system/df.txt df -h
say system/memory.txt cat /proc/meminfo
say system/processes.txt ps -e -o pid,ppid,stat,etime,args
tar -C "$out" -cf - .
"""


def gather_script() -> str:
    """Return the script that prints a node's logs as a tar archive."""
    return _GATHER.replace("@BYTES@", str(LOG_BYTES))


def unpack(archive: bytes, secrets: Iterable[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield every regular file of an archive by its relative path, secrets blacked out.

    Names that lead out of the archive, and everything that is no regular file, are left out.

    Args:
        archive: What `gather_script` printed.
        secrets: Texts that must not reach the host's disk.

    Raises:
        tarfile.TarError: It is no archive.
    """
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if not member.isfile() or path.is_absolute() or ".." in path.parts:
                continue
            stream = tar.extractfile(member)
            if stream is not None:
                yield path, masked(stream.read(), secrets)


def masked(content: bytes, secrets: Iterable[str]) -> bytes:
    """Return the content with every secret, and every value of a password key, blacked out."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            content = content.replace(secret.encode(), MASK.encode())
    return re.sub(
        rb"(?im)^((?:export )?\w*(?:PASSWORD|_PW|SECRET|TOKEN|_KEY|HASH)\w*\s*=\s*)"
        rb"(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s#]+)",
        rb"\1" + MASK.encode(),
        content,
    )

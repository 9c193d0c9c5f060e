#!/bin/bash
# Prints a node's logs as a tar archive. Hiera data and answer files hold every password in the
# clear and stay in the guest.

export LC_ALL=C
umask 077
shopt -s nullglob

# data: labkit puts its own in place of these
bytes=0                  # of each log's end
# end of data

out=$(mktemp -d)
trap 'rm -rf -- "$out"' EXIT
take() { # name in the archive, file
  [ -f "$2" ] || return 0
  mkdir -p "$out/$(dirname "$1")"
  tail -c "$bytes" "$2" >"$out/$1"
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
for log in /var/log/messages /var/log/audit/audit.log /var/log/yum.log \
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

#!/bin/bash
# Starts a run that goes on without its session, unless one is under way; prints 'started' or
# 'running'. Only features of systemd 219 and util-linux 2.23, CentOS 7's, are used.

set -eu
umask 077
export LC_ALL=C

# data: labkit puts a run's own in place of these
unit=labkit-none         # the transient systemd unit, without .service
description=
runs=/var/lib/labkit/runs
run_id=
kept=1                   # directories of runs that stay, the new one included
paths=()                 # files to put in place for root alone; relative ones into the run's directory
contents=()              # of each, in base64, so that nothing in it can end the quoting
# end of data

dir=$runs/$unit
mkdir -p "$runs"
exec 9>"$runs/.lock"
flock 9
# Its last act was to leave its status; it must not be taken for one under way.
[ ! -f "$dir/status" ] || systemctl stop "$unit.service" 2>/dev/null || true
case $(systemctl is-active "$unit.service" || true) in
  active | activating | deactivating | reloading) echo running; exit 0 ;;
esac
systemctl reset-failed "$unit.service" 2>/dev/null || true
put() {
  mkdir -p "$(dirname "$1")"
  base64 -d >"$1.labkit-new"
  mv -f -T "$1.labkit-new" "$1"
}
if [ -d "$dir" ]; then
  mv -T "$dir" "$dir.$(date +%Y%m%d-%H%M%S)-$$"
  # By time; the names are labkit's own.
  # shellcheck disable=SC2012
  ls -1dt "$dir".*/ | tail -n +"$kept" | while read -r old; do rm -rf -- "$old"; done
fi
mkdir "$dir"
cd "$dir"
for i in "${!paths[@]}"; do put "${paths[i]}" <<<"${contents[i]}"; done
cat /proc/sys/kernel/random/boot_id >"$dir/boot_id"
date +%s >"$dir/started"
printf '%s\n' "$run_id" >"$dir/run_id"
: >"$dir/output.log"
# Reserved now: on a full disk the exit code must still find its place. Never a 0 that nothing gave.
echo 255 >"$dir/status.new"
# A power cut must not take with it what tells that this run was begun.
sync
systemd-run --quiet --unit="$unit" --description="$description" bash "$dir/main" 9>&- >&2
echo started

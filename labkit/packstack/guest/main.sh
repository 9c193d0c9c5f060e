#!/bin/bash
# What the run's unit executes: called by systemd, as root, with a clean environment.

cd "$(dirname "$0")" || exit 1
exec >>output.log 2>&1 </dev/null
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
bash ./script
code=$?
printf '%03d\n' "$code" 1<>status.new
mv -f -T status.new status
exit "$code"

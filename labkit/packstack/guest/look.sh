#!/bin/bash
# Prints where a run stands, in one line, and its output from an offset on.

export LC_ALL=C

# data: labkit puts a run's own in place of these
unit=labkit-none
runs=/var/lib/labkit/runs
offset=0                 # bytes of output that are known already
chunk=0                  # bytes of it to print at the most
# end of data

dir=$runs/$unit
active=$(systemctl is-active "$unit.service" || true)
state=none code=- run_id=- boot_id=- started=0 size=0
if [ -f "$dir/started" ]; then
  state=lost
  case $active in active | activating | deactivating | reloading) state=running ;; esac
  [ -f "$dir/status" ] && { state=ended; read -r code <"$dir/status"; }
  read -r run_id <"$dir/run_id"; read -r boot_id <"$dir/boot_id"; read -r started <"$dir/started"
  # A power cut may leave files without their content.
  : "${run_id:=-}" "${boot_id:=-}" "${started:=0}"
  size=$(stat -c %s "$dir/output.log")
fi
read -r guest </proc/sys/kernel/random/boot_id
free=$(($(stat -f -c '%a * %S' /)))
printf '%s %s %s %s %s %s %(%s)T %s %s\n' \
  "$state" "$code" "$run_id" "$boot_id" "$guest" "$started" -1 "$free" "$size"
if [ "$size" -gt "$offset" ]; then
  tail -c +"$((offset + 1))" "$dir/output.log" | head -c "$chunk"
fi

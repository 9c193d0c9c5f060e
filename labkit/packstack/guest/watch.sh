#!/bin/bash
# Prints a node's boot id and what is new in its Puppet logs.

export LC_ALL=C

# data: labkit puts its own in place of these
since=/var/lib/labkit/runs/labkit-packstack.mark  # older logs belong to earlier runs
chunk=0                  # bytes of each log to print at the most
fetched=                 # also logs that Packstack has fetched into this directory
paths=()                 # logs that are known, without the ending
offsets=()               # and the bytes of each that are
# end of data

read -r boot </proc/sys/kernel/random/boot_id
echo "boot $boot"
shopt -s nullglob
# Packstack keeps each run's manifests below a directory of its own and renames a log from
# X.pp.running to X.pp.finished when Puppet is done (packstack/modules/puppet.py).
logs=(/var/tmp/packstack/*/manifests/*.pp.running /var/tmp/packstack/*/manifests/*.pp.finished)
[ -z "$fetched" ] || logs+=("$fetched"/*.pp.log)
for log in "${logs[@]}"; do
  [ "$log" -nt "$since" ] || [ ! -e "$since" ] || continue
  base=${log%.running}; base=${base%.finished}; base=${base%.log}
  known=0
  for i in "${!paths[@]}"; do [ "${paths[i]}" != "$base" ] || known=${offsets[i]}; done
  size=$(stat -c %s "$log") || continue
  more=$((size - known))
  [ "$more" -gt 0 ] || more=0
  [ "$more" -le "$chunk" ] || more=$chunk
  echo "labkit-log $log $size $more"
  [ "$more" = 0 ] || tail -c +"$((known + 1))" "$log" | head -c "$more"
  echo
done

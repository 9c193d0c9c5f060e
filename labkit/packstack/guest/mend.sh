#!/bin/bash
# Puts an external bridge right. Runs apart from any session: between the first ifdown and the last
# ifup nobody gets in. The order is puppet-vswitch's own (lib/puppet/provider/vs_port/ovs_redhat.rb,
# 8.4.0).

set -u

# data: labkit puts a node's own in place of these
scripts=/etc/sysconfig/network-scripts
bridge=br-ex
nic=eth0
bridge_taken=DEVICE      # keys of the bridge's file that are labkit's, as an expression
nic_taken=DEVICE         # the same of the card's file
ovs_extra=               # what OVS_EXTRA has to say
bridge_file=             # both files in base64
nic_file=
# end of data

cd "$scripts" || exit 1
for file in "ifcfg-$bridge" "ifcfg-$nic"; do
  [ ! -e "$file" ] || cp -p -- "$file" "/var/lib/labkit/before-mend.$file" || exit 1
done
# What somebody added stays: the lines of a file that give none of the keys of labkit and nothing
# that contradicts them. A plain card has its letters-only keys taken over by the bridge, as by
# puppet-vswitch.
without() { [ ! -e "$1" ] || grep -vE "^[[:space:]]*(export[[:space:]]+)?($2)=" "$1"; }
nic_extras=$(without "ifcfg-$nic" "$nic_taken")
bridge_extras=$(without "ifcfg-$bridge" "$bridge_taken")
if [ -e "ifcfg-$nic" ] && ! grep -qE "^[[:space:]]*TYPE=[\"']?OVSPort" "ifcfg-$nic"; then
  moved=$(grep -E '^[A-Za-z_]+=' <<<"$nic_extras" | grep -vE "^($bridge_taken)=")
  bridge_extras=$moved${bridge_extras:+${moved:+$'\n'}$bridge_extras}
fi
# Of OVS_EXTRA the one word that the shell takes, left in its own quotes: what is a text in single
# ones would be run in double ones.
word='([^[:space:]"'\''\\]|\\.|"([^"\\]|\\.)*"|'\''[^'\'']*'\'')*'
extra=$(sed -nE "s/^[[:space:]]*(export[[:space:]]+)?OVS_EXTRA=($word).*/\2/p" "ifcfg-$bridge" 2>/dev/null | tail -n 1)
if [ -n "${extra//[\"\']/}" ]; then
  if [[ $extra != *"set bridge $bridge "*fail_mode=standalone* ]]; then
    case $extra in
      \"*\" | \'*\') extra="${extra%?} -- $ovs_extra${extra: -1}" ;;
      *) extra+="\" -- $ovs_extra\"" ;;
    esac
  fi
  bridge_extras+=${bridge_extras:+$'\n'}OVS_EXTRA=$extra
fi
# A name that begins with a dot is no device's file to 'network', should the power go off here.
put() {
  { base64 -d <<<"$2" && { [ -z "$3" ] || printf '%s\n' "$3"; }; } >".$1.labkit-new" || exit 1
  chmod 0644 ".$1.labkit-new" && mv -f -T ".$1.labkit-new" "$1" || exit 1
  ! command -v restorecon >/dev/null || restorecon "$1" || true
}
put "ifcfg-$bridge" "$bridge_file" "$bridge_extras"
put "ifcfg-$nic" "$nic_file" "$nic_extras"
ifdown "$bridge"
ifdown "$nic"
ip address flush dev "$nic" scope global
ifup "$nic" && ifup "$bridge" || exit 1
# Neutron's agent before 12.0.3 does not notice that its bridge was made anew, and leaves it without
# patch port and flows (openstack/neutron, ovs_neutron_agent.py).
if systemctl --quiet is-active neutron-openvswitch-agent.service; then
  systemctl restart neutron-openvswitch-agent.service
fi

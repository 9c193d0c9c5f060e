#!/bin/bash
# Lets a node reach its external network from the bridge's address, as it does after a reboot.
# Of equal routes the oldest counts. The card's was the oldest until it moved into the bridge; that of
# another card in the same network is since.

set -u
export LC_ALL=C

# data: labkit puts a node's own in place of these
bridge=br-ex
network=                 # the bridge's, ADDRESS/LENGTH
gateway=                 # of the default route; empty where that is another card's
cards=()                 # the other cards in that network, NAME ADDRESS
# end of data

routes=$(ip -4 route show exact "$network")
# Packstack may have left no bridge; putting it right comes later.
[[ $routes == *"dev $bridge "* ]] || exit 0
if [[ ${routes%%$'\n'*} != *"dev $bridge "* ]]; then
  for card in "${cards[@]}"; do
    nic=${card% *} address=${card#* }
    [[ $routes != *"dev $nic "* ]] ||
      printf 'route del %s dev %s\nroute append %s dev %s proto kernel scope link src %s\n' \
        "$network" "$nic" "$network" "$nic" "$address"
  done | ip -batch - || exit
fi
[ -z "$gateway" ] || ip route replace default via "$gateway" dev "$bridge"

scripts=/etc/sysconfig/network-scripts
bridge=br-ex
nic=enp0s3
set -u
cd "$scripts" || exit 1
for file in "ifcfg-$bridge" "ifcfg-$nic"; do
  [ ! -e "$file" ] || cp -p -- "$file" "/var/lib/labkit/before-mend.$file" || exit 1
done
put() {
  base64 -d >"$1.labkit-new" && chmod 0644 "$1.labkit-new" && mv -f -T "$1.labkit-new" "$1" || exit 1
  ! command -v restorecon >/dev/null || restorecon "$1" || true
}
put ifcfg-br-ex <<'CONTENT_ENDS'
VFlQRT1PVlNCcmlkZ2UKSVBBRERSPTE3Mi4xNi4yMDguMzkKTkVUTUFTSz0yNTUuMjU1LjI1NS4wCkdBVEVXQVk9MTcyLjE2LjIwOC4yNTQKTk1fQ09OVFJPTExFRD1ubwpERUZST1VURT15ZXMKUEVFUkROUz15ZXMKUEVFUlJPVVRFUz15ZXMKTkFNRT1ici1leApERVZJQ0U9YnItZXgKT05CT09UPXllcwpPVlNCT09UUFJPVE89c3RhdGljCkRFVklDRVRZUEU9b3ZzCk9WU19FWFRSQT0ic2V0IGJyaWRnZSBici1leCBmYWlsX21vZGU9c3RhbmRhbG9uZSIK
CONTENT_ENDS
put ifcfg-enp0s3 <<'CONTENT_ENDS'
REVWSUNFPWVucDBzMwpOQU1FPWVucDBzMwpERVZJQ0VUWVBFPW92cwpUWVBFPU9WU1BvcnQKT1ZTX0JSSURHRT1ici1leApPTkJPT1Q9eWVzCkJPT1RQUk9UTz1ub25lCg==
CONTENT_ENDS
ifdown "$bridge"
ifdown "$nic"
ip address flush dev "$nic" scope global
ifup "$nic" && ifup "$bridge"

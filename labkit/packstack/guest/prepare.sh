#!/bin/bash
# labkit-prepare: makes a node ready for Packstack, step by step; a second run changes nothing.
#
# Standard output has the tools' own lines and, at the beginning of a line, the protocol:
#   labkit-step: start NAME
#   labkit-step: done NAME SECONDS changed|unchanged
#   labkit-step: failed NAME REASON
#   labkit-step: reboot OLD NEW       at the end: a newer kernel is installed than the one that runs
# The first step that fails ends the script with 1. Nothing is changed before every repository of
# one candidate has answered; every candidate of which that is true is used.
#
# Needs bash 4.2 and what CentOS 7 Minimal has. LABKIT_ROOT puts a directory in front of every
# path: for tests.

set -o nounset -o pipefail
shopt -s nullglob
export LC_ALL=C
umask 022

# data: labkit puts a node's own in place of these
fqdn=
address=                 # what the node's full name has to resolve to
addresses=()             # of all its cards
hosts=()                 # one line of /etc/hosts per node of the lab
peers=()                 # addresses root must reach over SSH; on the controller only
known_hosts=()           # a line for each of them
free_mib=0               # on / before the first deployment
again_mib=0              # on / once Packstack has run
candidates=()            # the places of a release tree, as they may be shown
repositories=()          # ids in labkit.repo
urls=()                  # repomd.xml: all repositories of the first candidate, of the second, ...
repo_text=               # labkit.repo; '@N' stands for the URLs of the repository with that index
repo_mode=0644
proxy=
release_package=
release_repositories=
signing_keys=()          # brought by the release package
key_texts=()             # what to write there instead, for all of them or none
pins=()                  # 'NAME VERSION': another version breaks Packstack
packages=()
open_files=0             # that MariaDB may have; on the controller only
# end of data

readonly root=${LABKIT_ROOT:-}
readonly repo_dir=/etc/yum.repos.d
readonly repo_file=$repo_dir/labkit.repo

step=
state=
started=0
chosen=()                # indexes of the candidates that have all repositories
scratch=

begin() {
  step=$1
  state=unchanged
  started=$(date +%s%3N)
  printf 'labkit-step: start %s\n' "$step"
}

finish() {
  local spent=$(($(date +%s%3N) - started))
  # A clock that is set right meanwhile must not give a negative time.
  ((spent >= 0)) || spent=0
  printf 'labkit-step: done %s %d.%03d %s\n' "$step" $((spent / 1000)) $((spent % 1000)) "$state"
  step=
}

fail() {
  # The reason may quote a tool or a server: no control characters, no endless line.
  local reason=${1//[^[:print:]]/?}
  printf 'labkit-step: failed %s %s\n' "${step:-start}" "${reason:0:600}"
  step=
  exit 1
}

leave() {
  [[ -z $scratch ]] || rm -rf -- "$scratch"
  [[ -z $step ]] || fail "ended before it was done; the lines above say why"
}

# The line of a tool's output that says what was wrong: the first error, else the last line.
reason_in() {
  local found
  found=$(grep -m 1 -E '^(Error|error|ERROR)|\[Errno' "$1") || found=$(tail -n 1 "$1")
  printf '%s' "${found:-it printed nothing}"
}

put() {
  local path=$root$1 mode=$2 text=$3 aside=$root$1.labkit-new
  if [[ -f $path && $(cat "$path" && printf x) == "${text}x" ]]; then
    [[ $(stat -c %a "$path") == "${mode#0}" ]] && return 0
    chmod "$mode" "$path" || fail "cannot change the mode of '$1'"
  else
    mkdir -p "${path%/*}" || fail "cannot make the directory of '$1'"
    { (umask 077 && printf '%s' "$text" >"$aside") && chmod "$mode" "$aside" &&
      mv -f -T "$aside" "$path"; } || fail "cannot write '$1'"
    label "$1"
  fi
  state=changed
}

label() {
  # A file moved into place has its directory's SELinux type, which is wrong for some.
  ! command -v restorecon >/dev/null || restorecon -R "$root$1" || true
}

check_space() {
  local needed=$free_mib free
  [[ ! -e $root/root/keystonerc_admin ]] || needed=$again_mib
  free=$(df -Pk "${root:-/}" | awk 'END { print int($4 / 1024) }')
  ((free >= needed)) || fail "needs $needed MiB free on /, and $free MiB are free"
}

# Leaves 'ok', or what came instead, in FILE.
ask() {
  local url=$1 file=$2 code status
  # The URLs may hold a password: curl reads them from its standard input, not from its arguments.
  # yum does not follow a redirection from http to https, so that is no answer.
  code=$(printf 'url = "%s"\nproxy = "%s"\n' "$url" "$proxy" |
    curl -q -sS -K - -L --proto-redir "=${url%%:*}" --connect-timeout 10 --max-time 40 \
      -o "$file.body" -w '%{http_code}' 2>"$file.error")
  status=$?
  if ((status == 1)); then
    printf 'redirects to another protocol, which yum does not follow\n'
  elif ((status != 0)); then
    printf '%s\n' "$(tail -n 1 "$file.error")"
  elif [[ $code != 200 ]]; then
    printf 'answered %s\n' "$code"
  elif ! grep -q '<repomd' "$file.body"; then
    printf 'answered something that is no repomd.xml\n'
  else
    printf 'ok\n'
  fi >"$file"
}

# All at once: one that does not answer keeps nobody waiting twice.
choose_candidates() {
  local index number answer wrong reasons=
  for index in "${!urls[@]}"; do
    ask "${urls[index]}" "$scratch/$index" &
  done
  wait
  for index in "${!candidates[@]}"; do
    wrong=
    for number in "${!repositories[@]}"; do
      read -r answer <"$scratch/$((index * ${#repositories[@]} + number))" || answer='left no answer'
      printf '%s, %s: %s\n' "${candidates[index]}" "${repositories[number]}" "$answer"
      [[ $answer == ok || -n $wrong ]] || wrong="${repositories[number]} $answer"
    done
    if [[ -z $wrong ]]; then
      chosen+=("$index")
    else
      reasons+="${reasons:+; }${candidates[index]}: $wrong"
    fi
  done
  ((${#chosen[@]})) || fail "no place has all repositories: $reasons"
}

# yum takes the places of a repository in their order, the next one when one does not answer.
write_places() {
  local line index places
  while IFS= read -r line; do
    if [[ $line == baseurl=@* ]]; then
      places=
      for index in "${chosen[@]}"; do
        index=$((index * ${#repositories[@]} + ${line#baseurl=@}))
        places+="${places:+ }${urls[index]%repodata/repomd.xml}"
      done
      line=baseurl=$places
    fi
    printf '%s\n' "$line"
  done <<<"$repo_text"
}

set_environment() {
  local line text=
  local file=$root/etc/environment
  if [[ -f $file ]]; then
    while IFS= read -r line || [[ -n $line ]]; do
      [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?(LANG|LC_ALL)= ]] || text+=$line$'\n'
    done <"$file"
  fi
  put /etc/environment 0644 "${text}LANG=en_US.utf-8"$'\n'"LC_ALL=en_US.utf-8"$'\n'
}

# The nodes' names leave every line they stand in, 127.0.0.1's above all: rabbitmq listens on what
# its host name resolves to. Other lines stay as they are.
set_hosts() {
  local line word text='' local_name=no ours=' '
  local -a words kept
  for line in "${hosts[@]}"; do ours+="${line#* } "; done
  [[ -f $root/etc/hosts ]] || : >"$root/etc/hosts"
  while IFS= read -r line || [[ -n $line ]]; do
    read -r -a words <<<"${line%%#*}"
    if ((${#words[@]} > 1)); then
      kept=("${words[0]}")
      for word in "${words[@]:1}"; do [[ $ours == *" $word "* ]] || kept+=("$word"); done
      ((${#kept[@]} > 1)) || continue
      ((${#kept[@]} == ${#words[@]})) || line="${kept[*]}"
      [[ ${kept[0]} != 127.0.0.1 || " ${kept[*]} " != *' localhost '* ]] || local_name=yes
    fi
    text+=$line$'\n'
  done <"$root/etc/hosts"
  [[ $local_name == yes ]] || text="127.0.0.1 localhost localhost.localdomain"$'\n'$text
  for line in "${hosts[@]}"; do text+=$line$'\n'; done
  put /etc/hosts 0644 "$text"
}

check_hostname() {
  local found
  if [[ $(uname -n) != "$fqdn" ]]; then
    put /etc/hostname 0644 "$fqdn"$'\n'
    printf '%s\n' "$fqdn" >"$root/proc/sys/kernel/hostname" || fail "cannot set the host name"
    state=changed
  fi
  found=$(getent ahostsv4 "$fqdn" | awk 'NR == 1 { print $1 }')
  [[ $found == "$address" ]] ||
    fail "'$fqdn' resolves to '${found:-nothing}' and not to '$address'"
}

know_peers() {
  local line text='' ours=' '
  local file=$root/root/.ssh/known_hosts
  for line in "${known_hosts[@]}"; do ours+="${line%% *} "; done
  if [[ -f $file ]]; then
    while IFS= read -r line || [[ -n $line ]]; do
      [[ $ours == *" ${line%% *} "* ]] || text+=$line$'\n'
    done <"$file"
  fi
  for line in "${known_hosts[@]}"; do text+=$line$'\n'; done
  put /root/.ssh/known_hosts 0600 "$text"
}

reach() {
  local try
  for try in 1 2 3; do
    ! ssh -n -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=15 \
      -o UserKnownHostsFile="$root/root/.ssh/known_hosts" -o LogLevel=ERROR \
      -o IdentitiesOnly=yes -i "$root/root/.ssh/id_rsa" "root@$1" true || return 0
    # It may be the moment in which the node's sshd starts.
    [[ $try == 3 ]] || sleep 2
  done
  return 1
}

open_ssh() {
  local peer index file
  local -a jobs=()
  label /root/.ssh
  [[ -s $root/root/.ssh/authorized_keys ]] ||
    fail "'/root/.ssh/authorized_keys' is missing; 'labkit halt' and 'labkit up' bring it"
  ((${#peers[@]})) || return 0
  [[ -s $root/root/.ssh/id_rsa ]] ||
    fail "'/root/.ssh/id_rsa' is missing; 'labkit halt' and 'labkit up' bring it"
  know_peers
  for peer in "${peers[@]}"; do
    reach "$peer" >"$scratch/ssh-$peer" 2>&1 &
    jobs+=("$!")
  done
  for index in "${!peers[@]}"; do
    file=$scratch/ssh-${peers[index]}
    wait "${jobs[index]}" || fail "root cannot log in to ${peers[index]}: $(tail -n 1 "$file")"
  done
}

# One question for all units: an emulated guest needs a quarter of a second for each process.
switch_off() {
  local line shown index=0
  local -a enabled=() active=() units=("$@")
  shown=$(systemctl show -p UnitFileState -p ActiveState "$@") ||
    fail "systemd does not tell the state of $*"
  while IFS= read -r line; do
    case $line in
      '') index=$((index + 1)) ;;
      UnitFileState=enabled*) enabled+=("${units[index]}") ;;
      ActiveState=active | ActiveState=activating) active+=("${units[index]}") ;;
    esac
  done <<<"$shown"
  if ((${#enabled[@]})); then
    systemctl disable "${enabled[@]}" || fail "cannot disable ${enabled[*]}"
    state=changed
  fi
  if ((${#active[@]})); then
    systemctl stop "${active[@]}" || fail "cannot stop ${active[*]}"
    state=changed
  fi
}

has_all_addresses() {
  local seen one
  seen=$(ip -o -4 address show)
  for one in "${addresses[@]}"; do
    [[ $seen == *" $one/"* ]] || return 1
  done
}

# A network that works is left alone, whoever brought it up: the run itself came in by it.
bring_up_network() {
  if ! systemctl is-enabled --quiet network 2>/dev/null; then
    systemctl enable network || fail "cannot enable 'network'"
    state=changed
  fi
  if ! systemctl is-active --quiet network 2>/dev/null && ! has_all_addresses; then
    systemctl start network || fail "'network' does not start; 'systemctl status network' says why"
    state=changed
  fi
}

# Sections whose packages come from CentOS's mirrors or from EPEL are switched off, not removed.
# shellcheck disable=SC2016 # the dollar signs are awk's
readonly dead_sections='
function flush(   i, on, seen) {
  on = 1
  for (i = 1; i <= count; i++) if (is_switch[i]) { seen = 1; on = value[i] !~ /^(0|no|false)$/ }
  for (i = 1; i <= count; i++) {
    if (dead && on && is_switch[i]) print "enabled=0"
    else print lines[i]
    if (dead && !seen && i == 1) print "enabled=0"
  }
  count = 0; dead = 0; key = ""
}
/^[ \t]*\[/ { flush() }
{
  lines[++count] = $0; is_switch[count] = 0
  text = tolower($0); gsub(/\r/, "", text)
  if (text ~ /^[ \t]*([#;]|$)/) next
  if (text ~ /^\[epel/) dead = 1
  if (text ~ /^[a-z_]+[ \t]*[=:]/) { key = text; sub(/[ \t]*[=:].*/, "", key) }
  if (key == "enabled") {
    is_switch[count] = 1; sub(/^[^=:]*[=:][ \t]*/, "", text); sub(/[ \t]+$/, "", text)
    value[count] = text
  }
  if (key ~ /^(baseurl|mirrorlist|metalink)$/ &&
      text ~ /\/\/([^\/]*[@.])?(centos|fedoraproject)\.org([:\/?]|$)/) dead = 1
}
END { flush() }
'

disable_dead() {
  local file text
  for file in "$root$repo_dir"/*.repo; do
    [[ $file != "$root$repo_file" ]] || continue
    text=$(awk "$dead_sections" "$file" && printf x) || fail "cannot read '${file#"$root"}'"
    put "${file#"$root"}" "$(stat -c %a "$file")" "${text%x}"
  done
}

write_repositories() {
  local path=$root/etc/yum/vars/contentdir
  local text
  text=$(write_places && printf x)
  put "$repo_file" "$repo_mode" "${text%x}"
  # Metadata of another place under the same id would name packages that are not there.
  [[ $state == unchanged ]] || rm -rf -- "$root"/var/cache/yum/*/*/labkit-* ||
    fail "cannot empty yum's cache"
  disable_dead
  # 7.5.1804 installs 'altarch', a tree that has none of the packages.
  [[ ! -f $path ]] || put /etc/yum/vars/contentdir 0644 $'centos\n'
}

have_packages() {
  local name
  for name; do rpm -q "$name" >/dev/null 2>&1 || return 1; done
}

run_yum() {
  yum -y "$@" </dev/null 2>&1 | tee "$scratch/yum" || fail "yum: $(reason_in "$scratch/yum")"
}

install_release() {
  local key index
  if ((${#key_texts[@]})); then
    for index in "${!signing_keys[@]}"; do
      put "${signing_keys[index]}" 0644 "${key_texts[index]}"
    done
    return
  fi
  if ! have_packages "$release_package"; then
    # Without the SIGs' repositories: the keys of their packages come with this one.
    run_yum --disablerepo='*' --enablerepo="$release_repositories" install "$release_package"
    have_packages "$release_package" || fail "yum did not install '$release_package'; 'repos.keys' does without it"
    state=changed
  fi
  disable_dead
  for key in "${signing_keys[@]}"; do
    [[ -s $root$key ]] || fail "'$release_package' did not bring the signing key '$key'"
  done
}

update_packages() {
  run_yum update
  grep -q 'No packages marked for update' "$scratch/yum" || state=changed
  # A newer centos-release may bring further .repo files.
  disable_dead
}

install_packages() {
  local pin name version found
  for pin in ${pins[@]+"${pins[@]}"}; do
    read -r name version <<<"$pin"
    found=$(rpm -q --queryformat '%{VERSION}\n' "$name" 2>/dev/null) || continue
    [[ $found != "$version" ]] || continue
    run_yum downgrade "$name-$version*"
    # With an older version installed yum does nothing, and calls that a success.
    found=$(rpm -q --queryformat '%{VERSION}\n' "$name")
    [[ $found == "$version" ]] || fail "yum did not bring '$name-$version', but left '$found'"
    state=changed
  done
  have_packages "${packages[@]}" && return 0
  run_yum install "${packages[@]}"
  for name in "${packages[@]}"; do
    have_packages "$name" || fail "yum did not install '$name'"
  done
  state=changed
}

# Packstack gives MariaDB 128 connections for each worker, and open_files_limit=-1 (mariadb.pp). It
# cannot set that, and keeps what systemd gives it, which is 1024 files and few connections.
raise_limits() {
  ((open_files)) || return 0
  put /etc/systemd/system/mariadb.service.d/labkit.conf 0644 "[Service]"$'\n'"LimitNOFILE=$open_files"$'\n'
  # rpm makes systemd read it, where MariaDB is still to be installed.
  [[ $state == unchanged || ! -e $root/usr/lib/systemd/system/mariadb.service ]] ||
    systemctl daemon-reload || fail "systemd does not read its files again"
}

newest_kernel() {
  local line
  # The one installed last comes first; Packstack asks the same.
  line=$(rpm -q --last kernel 2>/dev/null | head -n 1)
  line=${line%%[[:space:]]*}
  [[ $line != kernel-* ]] || printf '%s' "${line#kernel-}"
}

main() {
  local running newest
  trap 'fail interrupted' TERM INT HUP
  trap leave EXIT
  scratch=$(mktemp -d) || fail "cannot make a temporary directory"

  begin space; check_space; finish
  begin probe; choose_candidates; finish
  begin environment; set_environment; finish
  begin hosts; set_hosts; finish
  begin hostname; check_hostname; finish
  begin ssh; open_ssh; finish
  begin firewalld; switch_off firewalld; finish
  begin network-manager
  switch_off NetworkManager-wait-online NetworkManager-dispatcher NetworkManager
  finish
  begin network; bring_up_network; finish
  begin repositories; write_repositories; finish
  begin release; install_release; finish
  begin update; update_packages; finish
  begin packages; install_packages; finish
  begin limits; raise_limits; finish
  begin kernel
  running=$(uname -r)
  newest=$(newest_kernel)
  finish
  [[ -z $newest || $newest == "$running" ]] ||
    printf 'labkit-step: reboot %s %s\n' "$running" "$newest"
}

main

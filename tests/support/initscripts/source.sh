#!/bin/bash
# Sources the files 0, 1, … of a directory, each in a shell of its own, as the network scripts source
# an ifcfg file, but runs nothing of them: what is no plain assignment is told and skipped.
# Written to the directory's file 'out', each part with a NUL at its end: file NUMBER; value NAME TEXT;
# fault LINE COMMAND.

directory=$1 count=$2
readonly _j_name='[A-Za-z_][A-Za-z0-9_]*'
readonly _j_variable="\\\$$_j_name|\\\$\\{$_j_name\\}"
readonly _j_plain='[^[:space:]"\$`;&|<>()~'"']"
readonly _j_double="\"([^\"\\\$\`]|\\\\.|$_j_variable)*\""
readonly _j_assignment="^($_j_name)=($_j_plain|'[^']*'|$_j_double|\\\\.|$_j_variable)*([[:space:]]+|\$)"

# Bash calls it before each command (trap DEBUG); with extdebug, 1 skips the command.
_j_guard() {
  [[ ${BASH_SOURCE[1]} == "$_j_file" ]] || return 0
  local _j_rest=${BASH_COMMAND#export }
  local -a _j_found=()
  while [[ $_j_rest =~ $_j_assignment ]]; do
    _j_found+=("${BASH_REMATCH[1]}")
    _j_rest=${_j_rest:${#BASH_REMATCH[0]}}
  done
  if [[ -n $_j_rest || $BASH_SUBSHELL != "$_j_level" ]] || _j_readonly "${_j_found[@]}"; then
    printf '%s\0' fault "$1" "$BASH_COMMAND"
    return 1
  fi
  _j_names+=("${_j_found[@]}")
}

_j_readonly() {
  local _j_each
  for _j_each; do [[ ${!_j_each@a} != *r* ]] || return 0; done
  return 1
}

_j_source() (
  _j_file=$directory/$1 _j_names=() _j_level=$BASH_SUBSHELL
  PATH=$directory
  # A restricted shell opens no file, also where no command is at work: { A=1; } >file.
  set -r
  shopt -s extdebug
  trap '_j_guard "$LINENO"' DEBUG
  # shellcheck disable=SC1090
  . "$1"
  trap - DEBUG
  for _j_each in "${_j_names[@]}"; do printf '%s\0' value "$_j_each" "${!_j_each}"; done
  while read -r _ _ _j_each; do
    [[ $_j_each == _j_* ]] || printf '%s\0' fault 0 "defines the function $_j_each"
  done <<<"$(declare -F)"
)

exec 3>"$directory/out" >&3
for ((number = 0; number < count; number++)); do
  printf '%s\0' file "$number"
  said=$(_j_source "$number" 2>&1 >&3)
  [[ -z $said ]] || printf '%s\0' fault 0 "$said"
done

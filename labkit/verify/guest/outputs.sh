#!/bin/bash
# Runs commands all at once and prints what came of them: a line with their number; per command its
# exit code, the bytes of its two streams and its file; then all streams. Lengths come first, so
# nothing a command prints can be taken for anything else.

umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# data: labkit puts a node's own in place of these
most=0                   # bytes of a stream
seconds=0                # that a command is given
files=()
shells=()                # the command of each
# end of data

dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT || exit
ask() {
  local began=$SECONDS code
  timeout -k 2 "$seconds" bash -c "$2"
  code=$?
  # One that does not even end when it is asked to is killed, which is told in another way.
  if ((code == 124 || code == 137 && SECONDS - began >= seconds)); then
    code=124
    echo "it was given $seconds s" >&2
  fi
  echo "$code" >"$dir/$1.code"
}
for i in "${!files[@]}"; do
  file=${files[i]}
  ask "$file" "${shells[i]}" </dev/null >"$dir/$file.out" 2>"$dir/$file.err" &
done
wait
# Two processes for the whole answer: an emulated guest pays a quarter of a second for each.
paths=() codes=()
for file in "${files[@]}"; do
  paths+=("$dir/$file.out" "$dir/$file.err"); code=255
  [ ! -f "$dir/$file.code" ] || read -r code <"$dir/$file.code"
  codes+=("$code")
done
mapfile -t sizes < <(stat -c %s -- "${paths[@]}")
printf 'labkit-outputs %d\n' "${#files[@]}"
for i in "${!files[@]}"; do
  out=${sizes[2*i]} err=${sizes[2*i+1]}
  printf '%d %d %d %s\n' "${codes[i]}" \
    "$((out > most ? most : out))" "$((err > most ? most : err))" "${files[i]}"
done
head -q -c "$most" -- "${paths[@]}"

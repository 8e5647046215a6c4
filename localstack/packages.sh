#!/usr/bin/env bash
# Installs what compiles librdkafka, where it is missing: gcc, g++ and make. As root with apt it does so by itself.
set -euo pipefail

missing=()
for program in gcc g++ make; do
  command -v "$program" >/dev/null || missing+=("$program")
done
[ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
else
  echo "error: missing: ${missing[*]}; install them (Debian: sudo apt-get install ${missing[*]})" >&2
  exit 1
fi

#!/usr/bin/env bash
# Installs Debian packages that are missing. As root with apt it does so by itself; else it says what to install.
#   packages.sh           what compiles librdkafka: gcc, g++, make and zlib's header
#   packages.sh cmake     what compiles librdkafka with TLS: cmake
#   packages.sh browser   what the browser tests drive: chromium, and a font for it
set -euo pipefail

missing=()
if [ "${1:-}" = browser ]; then
  command -v chromium >/dev/null || [ -n "${CHROMIUM:-}" ] || missing+=(chromium fonts-liberation)
elif [ "${1:-}" = cmake ]; then
  command -v cmake >/dev/null || missing+=(cmake)
else
  for program in gcc g++ make; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
else
  echo "error: missing: ${missing[*]}; install them (Debian: sudo apt-get install ${missing[*]})" >&2
  [ "${1:-}" = browser ] && echo "or name a Chromium: make CHROMIUM=/usr/bin/google-chrome ..." >&2
  exit 1
fi

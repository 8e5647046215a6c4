#!/usr/bin/env bash
# Installs missing Debian packages. As root with apt it installs them; otherwise it prints what to install, on macOS with
# Homebrew's names.
#   packages.sh           to compile librdkafka: gcc, g++, make and zlib's header
#   packages.sh cmake     to compile librdkafka with TLS: cmake
#   packages.sh browser   for the browser tests: chromium, and a font for it
#   packages.sh prometheus  to check Prometheus' rules: prometheus and promtool, unpacked into target/prometheus
set -euo pipefail

# Unpacked only, because the installed package starts a service. Without it, the tests that need it are skipped and say so.
if [ "${1:-}" = prometheus ]; then
  command -v promtool >/dev/null && command -v prometheus >/dev/null && exit 0
  folder=$(dirname "$0")/../target/prometheus
  [ -x "$folder/usr/bin/promtool" ] && exit 0
  package=$(mktemp -d)
  trap 'rm -rf "$package"' EXIT
  if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
    [ "$(id -u)" != 0 ] || apt-cache show prometheus >/dev/null 2>&1 || apt-get update -qq
    # By default, apt as root downloads as another user, who cannot access the folder.
    (cd "$package" && apt-get -qq -o APT::Sandbox::User=root download prometheus) || true
  fi
  if ! dpkg -x "$package"/prometheus_*.deb "$folder" 2>/dev/null; then
    echo "prometheus is missing: the tests of the alert rules are skipped (put prometheus and promtool into the PATH;" \
      "macOS: brew install prometheus)" >&2
  fi
  exit 0
fi

missing=() homebrew=()
needs() { # DEBIAN-PACKAGE HOMEBREW-PACKAGE
  missing+=("$1")
  [ -z "$2" ] || homebrew+=("$2")
}
has_zlib() { echo '#include <zlib.h>' | gcc -E - >/dev/null 2>&1; }

if [ "${1:-}" = browser ]; then
  command -v chromium >/dev/null || [ -n "${CHROMIUM:-}" ] || { needs chromium "--cask chromium" && needs fonts-liberation ""; }
elif [ "${1:-}" = cmake ]; then
  command -v cmake >/dev/null || needs cmake cmake
else
  # On macOS, gcc, g++, make and zlib's header are in Xcode's command line tools, which Homebrew does not have.
  for program in gcc g++ make; do
    command -v "$program" >/dev/null || needs "$program" ""
  done
  has_zlib || needs zlib1g-dev ""
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  # Several verbs run at the same time.
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  exit
fi
if [ "$(uname)" = Darwin ]; then
  how="brew install ${homebrew[*]:-}"
  [ ${#homebrew[@]} -gt 0 ] || how="xcode-select --install"
else
  how="Debian: sudo apt-get install ${missing[*]}"
fi
echo "error: missing: ${missing[*]}; install them ($how)" >&2
[ "${1:-}" = browser ] && echo "or name a Chromium: make CHROMIUM=/usr/bin/google-chrome ..." >&2
exit 1

#!/usr/bin/env bash
# Does what a new user does: clones the last commit into an empty folder, with an empty HOME and empty caches. Prints how long
# each step took, and stops at the first one that fails.
#   fresh.sh [STEP...]   of oldest-pip, local, local-test, warm; all of them if none is named
# From the machine it uses the programs in the PATH, the toolchains of rustup, and the settings of registries: variables and
# files of pip, uv, npm, cargo and Terraform. It uses nothing that was downloaded, built or installed before.
set -euo pipefail
cd "$(dirname "$0")/.."
source=$PWD python=${PYTHON:-python3} oldest_pip=23.0.1
place=$(mktemp -d "${TMPDIR:-/tmp}/quoteflow-fresh.XXXXXX")
mkdir "$place/home"
steps=(clone "$@")
[ $# -gt 0 ] || steps=(clone oldest-pip local local-test warm)

[ -z "$(git status --porcelain)" ] || echo "note: changes that are not committed are not tested" >&2

environment=(HOME="$place/home" CARGO_HOME="$place/home/.cargo" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}")
for name in $(compgen -e); do
  case $name in
    PATH | LANG | LC_* | TERM | CHROMIUM | RUSTUP_TOOLCHAIN | RUSTUP_AUTO_INSTALL | TF_CLI_CONFIG_FILE | QUOTEFLOW_TF_PLUGIN_DIR | \
      *_proxy | *_PROXY | SSL_CERT_* | *_CA_BUNDLE | *_EXTRA_CA_CERTS | \
      PIP_CONFIG_FILE | PIP_*INDEX* | PIP_CERT | PIP_CLIENT_CERT | PIP_PROXY | PIP_TRUSTED_HOST | PIP_*TIMEOUT | \
      UV_CONFIG_FILE | UV_*INDEX* | UV_*TLS* | UV_*TIMEOUT | [nN][pP][mM]_[cC][oO][nN][fF][iI][gG]_* | \
      CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTRIES_* | CARGO_REGISTRY_* | CARGO_SOURCE_*)
      environment+=("$name=${!name}")
      ;;
  esac
done
for file in .config/pip/pip.conf .pip/pip.conf .config/uv/uv.toml .npmrc .terraformrc .cargo/config.toml; do
  [ ! -e "$HOME/$file" ] || { mkdir -p "$place/home/$(dirname "$file")" && cp "$HOME/$file" "$place/home/$file"; }
done
stranger() { (cd "$place/quoteflow" && env -i "${environment[@]}" "$@"); }

step_clone() { git clone --quiet --no-hardlinks "$source" "$place/quoteflow"; }

step_oldest_pip() {
  stranger "$python" -m venv "$place/pip"
  stranger "$place/pip/bin/pip" install --quiet --disable-pip-version-check "pip==$oldest_pip"
  stranger "$place/pip/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: -r setup/requirements.lock
  rm -r "$place/pip"
}

step_local() {
  local began
  began=$(date +%s)
  stranger make PYTHON="$python" local ARGS="--polls 5 --port-base 0 --report $place/report.json"
  # The seconds from the step's beginning to the first row in gold.
  "$python" - "$place/report.json" "$began" >"$place/first" <<'END'
import json, sys
from datetime import datetime

first = json.load(open(sys.argv[1]))["first_gold_at"]
if not first:
    sys.exit("no quote reached gold")
print(int(datetime.fromisoformat(first[:19] + "+00:00").timestamp()) - int(sys.argv[2]))
END
}

step_local_test() { stranger make PYTHON="$python" local-test; }

step_warm() { step_local_test; }

clock() { printf '%3d:%02d' $(($1 / 60)) $(($1 % 60)); }

times=()
for step in "${steps[@]}"; do
  echo "=== $step"
  began=$SECONDS outcome=done
  # Not in a condition, where bash would continue after an error.
  set +e
  (set -e && "step_${step//-/_}")
  [ $? = 0 ] || outcome=FAILED
  set -e
  times+=("$(printf '  %-18s %s  %s' "$step" "$(clock $((SECONDS - began)))" $outcome)")
  if [ "$step" = local ] && [ -s "$place/first" ]; then
    times+=("$(printf '  %-18s %s' "  its first figures" "$(clock "$(<"$place/first")")")")
  fi
  [ $outcome = done ] || break
done
printf '%s\n' "" "${times[@]}"
[ $outcome = done ] || { echo "$step failed; the clone is kept in $place/quoteflow" >&2 && exit 1; }
rm -rf "$place"

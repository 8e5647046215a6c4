#!/usr/bin/env bash
# Installs a lock into a virtual environment, which is created if it is absent.
#   python.sh VENV LOCK [PYTHON]
# Exactly the lock's files are installed, wheels only, each checked against its hashes. No dependency is resolved, so a later
# release of a package changes nothing. If uv fails, because it does not know all of pip's settings, pip does the same in a minute.
set -euo pipefail
venv=$1 lock=$2 python=${3:-python3}
here=$(dirname "$0")
exactly=(--quiet --no-deps --require-hashes --only-binary :all:)

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..." >&2
  exit 1
}
# An environment whose interpreter is gone is created again.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv" || {
  echo "error: $python cannot create a virtual environment (Debian: sudo apt-get install python3-venv)" >&2
  exit 1
}
pip=("$venv/bin/python" -m pip)

if [ -z "${UV_DEFAULT_INDEX:-}" ]; then
  index=${PIP_INDEX_URL:-$("${pip[@]}" config get global.index-url 2>/dev/null || true)}
  [ -z "$index" ] || export UV_DEFAULT_INDEX=$index
fi
install=("${pip[@]}" install --disable-pip-version-check "${exactly[@]}")
"${install[@]}" -r "$here/installer.lock" \
  && "$venv/bin/uv" pip install --python "$venv/bin/python" "${exactly[@]}" -r "$lock" \
  || { echo "uv could not install $lock; trying pip" >&2 && "${install[@]}" -r "$lock"; }

#!/usr/bin/env bash
# Makes .venv in the project folder and installs the project into it. Nothing is done if it is up to date.
#   bash scripts/install.sh        to use the project
#   bash scripts/install.sh dev    with the tools for tests and lint
# PYTHON=/path/to/python chooses the interpreter (Python >= 3.10).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extra="${1:-}"
case "$extra" in
  "" | dev) ;;
  *) echo "usage: bash scripts/install.sh [dev], got '$extra'" >&2; exit 2 ;;
esac

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.10 python; do
    if new_enough "$candidate"; then echo "$candidate"; return; fi
    if [[ -n "${PYTHON:-}" ]]; then break; fi
  done
  echo "PATrack needs Python >= 3.10; found: $("${PYTHON:-python3}" --version 2>&1 || true)" >&2
  echo "Install a newer one and name it: PYTHON=/path/to/python bash scripts/install.sh" >&2
  exit 1
}

venv_python=.venv/bin/python
if ! { new_enough "$venv_python" && "$venv_python" -m pip --version >/dev/null 2>&1; }; then
  python="$(find_python)"
  echo "Making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv || {
    echo "Could not make .venv; on Debian or Ubuntu: apt install python3-venv" >&2
    exit 1
  }
fi

# The stamp holds the hash of what was installed; "dev" includes the plain installation.
wanted="$("$venv_python" - <<'PY'
import hashlib, pathlib, sys
parts = [pathlib.Path(name).read_bytes() for name in ("requirements.txt", "constraints.txt", "pyproject.toml", "setup.py")]
print(hashlib.sha256(b"\0".join([*parts, sys.version.encode(), str(pathlib.Path.cwd()).encode()])).hexdigest())
PY
)"
up_to_date() { [[ -f "$1" && "$(cat "$1")" == "$wanted" ]]; }
if up_to_date .venv/installed-dev || { [[ -z "$extra" ]] && up_to_date .venv/installed; }; then
  echo "Installation is up to date (.venv)"
  exit 0
fi

constraints=(-c constraints.txt)
if ! "$venv_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Python 3.10: the tested versions in constraints.txt need 3.11, so the newest suitable ones are installed"
  constraints=()
fi
echo "Installing into .venv (torch is large: this can take some minutes)"
"$venv_python" -m pip install --disable-pip-version-check ${constraints[@]+"${constraints[@]}"} -e ".${extra:+[$extra]}"
if [[ "$extra" == dev ]]; then
  # For the tests that compare with it. Its requirements are in the dev extra, except opencv-python, which needs system
  # libraries and would share files with opencv-python-headless.
  "$venv_python" -m pip install --disable-pip-version-check --no-deps vot-toolkit==0.9.0
fi
echo "$wanted" >".venv/installed${extra:+-$extra}"

#!/usr/bin/env bash
# Sets up .venv if needed, then runs lint, format check, type check and tests. Arguments go to pytest:
#   bash scripts/test.sh
#   bash scripts/test.sh -k config
# Needs no GPU, no data set and no network besides the package index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/install.sh dev
echo "Lint"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
echo "Types"
.venv/bin/mypy
echo "Tests"
exec .venv/bin/python -m pytest "$@"

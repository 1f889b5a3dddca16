#!/usr/bin/env bash
# Format, lint, types, and the direction of imports. scripts/check.sh --fix formats and mends what can be mended.
source "$(dirname "$0")/venv.sh"

if [[ "${1:-}" == "--fix" ]]; then
    ruff format .
    ruff check --fix .
fi
ruff format --check .
ruff check .
mypy
lint-imports

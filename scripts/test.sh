#!/usr/bin/env bash
# Run the tests: scripts/test.sh [--long] [pytest arguments]. --long adds the larger matrices.
source "$(dirname "$0")/venv.sh"

marks="not long"
if [[ "${1:-}" == "--long" ]]; then
    shift
    marks=""
fi
exec python -m pytest -m "$marks" "$@"

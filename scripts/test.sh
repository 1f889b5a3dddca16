#!/usr/bin/env bash
# Run the tests: scripts/test.sh [--long] [pytest arguments]. --long adds the larger matrices.
# Without arguments: all tests, those of one process on up to eight processors at once, then those of several processes
# one after the other, since these hold each other to times.
source "$(dirname "$0")/venv.sh"

# What tests train is too small to gain from threads, and threads of two tests that share processors wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

marks="not long"
if [[ "${1:-}" == "--long" ]]; then
    shift
    marks=""
fi
if (($#)); then
    exec python -m pytest -m "$marks" "$@"
fi
status=0
python -m pytest -m "$marks" -n auto --maxprocesses 8 --dist worksteal \
    --ignore tests/distributed --ignore tests/gpu --durations 20 || status=$?
python -m pytest -m "$marks" tests/distributed tests/gpu --durations 20 || status=$?
exit "$status"

#!/usr/bin/env bash
# Run the tests: scripts/test.sh [--long] [--promises | pytest arguments]. --long adds the larger matrices.
# Without arguments all of them; with --promises those that docs/reliability.md names. Tests of one process run on up
# to eight processors at once; those of several processes, which hold each other to times, on up to four, a file on each.
source "$(dirname "$0")/venv.sh"

# What tests train is too small to gain from threads, and threads of two tests that share processors wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

marks="not long"
if [[ "${1:-}" == "--long" ]]; then
    shift
    marks=""
fi
if (($#)) && [[ "$1" != "--promises" ]]; then
    exec python -m pytest -m "$marks" "$@"
fi
alone=(--ignore tests/distributed --ignore tests/gpu)
several=(tests/distributed)
if (($#)); then
    mapfile -t named < <(grep -o '`tests/[^`]*`' docs/reliability.md | tr -d '`' | sort -u)
    mapfile -t alone < <(printf '%s\n' "${named[@]}" | grep -v '^tests/distributed/')
    mapfile -t several < <(printf '%s\n' "${named[@]}" | grep '^tests/distributed/')
fi
status=0
python -m pytest -m "$marks" -n auto --maxprocesses 8 --dist worksteal --durations 20 "${alone[@]}" || status=$?
python -m pytest -m "$marks" -n auto --maxprocesses 4 --dist loadfile --durations 20 "${several[@]}" || status=$?
(($#)) || python -m pytest -m "$marks" tests/gpu || status=$?
exit "$status"

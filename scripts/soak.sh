#!/usr/bin/env bash
# Kill a run N times (200) at random, and see it end as if nothing had been: scripts/soak.sh [N] [--seed S] [--ranks R]
# The result, and where the kills fell, are in output/soak/result.json.
source "$(dirname "$0")/venv.sh"

PYTHONPATH=.:tests exec python scripts/soak.py "$@"

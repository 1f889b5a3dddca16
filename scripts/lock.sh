#!/usr/bin/env bash
# Write requirements.lock anew: what requirements.txt asks for and all that comes along, each at one version and with
# the SHA-256 of its wheels, for Python 3.11 and later on any system.
#   scripts/lock.sh [--upgrade | --upgrade-package NAME]
# Without an option, the versions that are pinned stay as far as requirements.txt allows.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check "uv>=0.9"
# Wheels alone: to install one runs nothing of its own.
UV_CUSTOM_COMPILE_COMMAND="scripts/lock.sh" "$tools/bin/uv" pip compile requirements.txt \
    --universal --python-version 3.11 --generate-hashes --only-binary :all: --emit-build-options \
    --no-annotate --no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock "$@"

# Sourced by the other scripts: make .venv, install requirements.lock into it (requirements.txt at fixed versions, and
# nothing whose SHA-256 is another one), and put it first on the PATH. Done again only when requirements.lock changed.
# PYTHON names another interpreter, VENV another folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${VENV:-.venv}
stamp="$VENV/installed-requirements.lock"
if ! cmp -s requirements.lock "$stamp"; then
    echo "== installing requirements.lock into $VENV (several GB the first time)"
    "${PYTHON:-python3}" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
    cp requirements.lock "$stamp"
fi
PATH="$(cd "$VENV" && pwd)/bin:$PATH"
export PATH

# Sourced by the other scripts: make .venv, install requirements.txt into it, and put it first on the PATH.
# Done again only when requirements.txt changed. PYTHON names another interpreter, VENV another folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${VENV:-.venv}
stamp="$VENV/installed-requirements.txt"
if ! cmp -s requirements.txt "$stamp"; then
    echo "== installing requirements.txt into $VENV (several GB the first time)"
    "${PYTHON:-python3}" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
    cp requirements.txt "$stamp"
fi
export PATH="$(cd "$VENV" && pwd)/bin:$PATH"

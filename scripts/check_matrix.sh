#!/usr/bin/env bash
# The tests on the oldest and the newest torch, on every Python that is here:
#   scripts/check_matrix.sh [pytest arguments]
# Each combination has an environment of its own under .matrix/ (several GB each; delete it afterwards, or give
# KEEP=0 to have each deleted as soon as it has been used). PYTHONS overrides the interpreters tried.
set -euo pipefail
cd "$(dirname "$0")/.."

oldest="torch==2.11.* torchvision==0.26.*"
newest="torch torchvision"
declare -a results=()
failed=0

try() { # NAME PYTHON PACKAGES... [-- pytest arguments]
    local name=$1 python=$2 versions
    shift 2
    local packages=()
    while [[ $# -gt 0 && $1 != -- ]]; do
        packages+=("$1")
        shift
    done
    shift || true
    local env=".matrix/$name"
    if [[ ! -e "$env/ready" ]]; then
        rm -rf "$env"
        "$python" -m venv "$env"
        # Together, so that no requirement moves torch away from the version asked for.
        "$env/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt "${packages[@]}"
        touch "$env/ready"
    fi
    versions=$("$env/bin/python" -c 'import platform, torch, torchvision
print("Python", platform.python_version(), "torch", torch.__version__, "torchvision", torchvision.__version__)')
    echo "== $versions"
    local start=$SECONDS outcome
    if outcome=$(PATH="$PWD/$env/bin:$PATH" python -m pytest -m "not long" "$@" 2>&1 | tee "$env.log" | tail -n 1); then
        results+=("passed  $versions: $outcome ($((SECONDS - start)) s)")
    else
        results+=("FAILED  $versions: $outcome (see $env.log)")
        failed=1
    fi
    [[ ${KEEP:-1} == 1 ]] || rm -rf "$env"
}

mkdir -p .matrix
for python in ${PYTHONS:-python3.11 python3.12}; do
    if ! command -v "$python" >/dev/null; then
        results+=("skipped $python: not on this machine")
        continue
    fi
    read -ra old <<<"$oldest"
    read -ra new <<<"$newest"
    tag=$(basename "$python")
    try "$tag-oldest" "$python" "${old[@]}" -- "$@"
    try "$tag-newest" "$python" "${new[@]}" -- "$@"
done
echo
printf '%s\n' "${results[@]}"
exit $failed

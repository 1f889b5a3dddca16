#!/usr/bin/env bash
# Everything that needs a GPU, in one command of less than ten minutes; what is worth keeping goes into one folder:
#   scripts/gpu_suite.sh FOLDER          tests, kernels, and Swin-T's training step
#   scripts/gpu_suite.sh FOLDER base     Swin-B's training step, which takes as long again
# It installs nothing: PYTHON (python3) has what requirements.txt names, but for what a benchmark leaves out by itself.
# A part that fails is told at the end, and the others go on. REFERENCE names a checkout of the authors' repository.
set -uo pipefail
cd "$(dirname "$0")/.."

folder=${1:?"scripts/gpu_suite.sh FOLDER [base]"}
python=${PYTHON:-python3}
mkdir -p "$folder"
folder=$(realpath "$folder")
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
    echo "error: scripts/gpu_suite.sh: $python sees no CUDA device; run it where there is one" >&2
    exit 2
}

failed=()
part() { # NAME SECONDS COMMAND...
    local name=$1 seconds=$2 start=$SECONDS status=0
    shift 2
    timeout -k 5 "$seconds" "$@" >"$folder/$name.log" 2>&1 || status=$?
    echo "$name: status $status after $((SECONDS - start)) s"
    [[ $status == 0 ]] || failed+=("$name (status $status, $folder/$name.log)")
}
compare() { # NAME SECONDS KIND CONFIGURATION BATCH arguments...
    local name=$1 seconds=$2 kind=$3 cfg=$4 batch=$5
    shift 5
    part "$name" "$seconds" "$python" main.py benchmark "$kind" --cfg "$cfg" --batch-size "$batch" \
        ${REFERENCE:+--reference "$REFERENCE"} --json "$folder/$name.json" "$@"
}

nvidia-smi -q -d CLOCK,POWER,PERFORMANCE >"$folder/nvidia-smi.txt" 2>&1
if [[ ${2:-} == base ]]; then
    compare swin-base 540 train-step swin_base_patch4_window7_224 128 --rounds 5 --steps 10 \
        --only "swin_train,swin_train blocks,timm,timm compiled"
else
    part roofline 40 "$python" main.py benchmark roofline --cfg swin_tiny_patch4_window7_224 --json "$folder/roofline.json"
    part kernels 110 "$python" -m pytest -m gpu tests/unit/kernels
    part kernel-v1 40 "$python" main.py benchmark kernel --cfg swin_tiny_patch4_window7_224 --batch-size 256 \
        --only reference,sdpa,triton --json "$folder/kernel-v1.json"
    part kernel-v2 40 "$python" main.py benchmark kernel --cfg swinv2_base_patch4_window16_256 --batch-size 64 \
        --only reference,sdpa,triton --json "$folder/kernel-v2.json"
    compare swin-tiny 240 train-step swin_tiny_patch4_window7_224 256 --rounds 5 --steps 10 \
        --only "swin_train,swin_train blocks,timm,timm compiled"
    part engine 70 "$python" -m pytest -m gpu tests/gpu tests/unit/models
fi
nvidia-smi -q -d CLOCK,POWER,PERFORMANCE >>"$folder/nvidia-smi.txt" 2>&1

if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi

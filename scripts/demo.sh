#!/usr/bin/env bash
# The main job on real images: train a small Swin on handwritten digits, evaluate it, fine-tune it at twice the
# resolution. scripts/demo.sh [FOLDER] keeps everything in FOLDER (default demo_run); a second call goes on
# where the first one stopped and skips what is done.
source "$(dirname "$0")/venv.sh"

PYTHONPATH=. exec python scripts/demo.py "${1:-demo_run}"

#!/usr/bin/env bash
# Fuzz the native decoder under AddressSanitizer and UndefinedBehaviorSanitizer: scripts/fuzz.sh [SECONDS [SEED]]
# With clang and its libFuzzer where they are there, otherwise with cc and tests/fuzz/driver.c. Inputs that end the
# program are kept in output/fuzz/.
source "$(dirname "$0")/venv.sh"

seconds=${1:-60}
seed=${2:-1}
folder=output/fuzz
sources=(tests/fuzz/fuzz_decode.c swin_train/data/native/*.c)
flags=(-std=gnu11 -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all -pthread -Iswin_train/data/native)
python -c 'from swin_train.cli.main import main; raise SystemExit(main(["build-native"]))'
mkdir -p "$folder"
PYTHONPATH=. python tests/fuzz/make_seeds.py "$folder/seeds"
export ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=2048
if clang "${flags[@]}" -fsanitize=fuzzer,address,undefined "${sources[@]}" -o "$folder/fuzz_decode" -ljpeg -lm 2>"$folder/clang.log"; then
    mkdir -p "$folder/corpus"
    exec "$folder/fuzz_decode" -max_total_time="$seconds" -seed="$seed" -timeout=20 -max_len=65536 \
        -artifact_prefix="$folder/" "$folder/corpus" "$folder/seeds"
fi
"${CC:-cc}" "${flags[@]}" -fsanitize=address,undefined tests/fuzz/driver.c "${sources[@]}" -o "$folder/fuzz_decode" -ljpeg -lm
cd "$folder"
exec ./fuzz_decode "$seconds" "$seed" seeds/*

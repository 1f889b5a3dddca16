#!/usr/bin/env bash
# Build the native extension, and libjpeg's headers before it where they are missing and may be installed.
source "$(dirname "$0")/venv.sh"

if ! echo '#include <stdio.h>
#include <jpeglib.h>' | ${CC:-cc} -E - >/dev/null 2>&1; then
    if command -v apt-get >/dev/null && [[ "$(id -u)" == 0 ]]; then
        apt-get install -y -qq libjpeg-dev
    fi
fi
exec python main.py build-native

"""Compile the C sources of this folder into one shared library, with the system's compiler and libjpeg-turbo.

The library's name holds a hash of the sources and the flags, so that a library of other sources is never loaded.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from swin_train.data.formats.index import cache_folder
from swin_train.errors import UserError

_SOURCES = Path(__file__).parent
# No contraction: a fused multiply-add rounds once, and the SIMD paths would differ from the portable ones.
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-pthread", "-Wall", "-Wextra")
_LIBRARIES = ("-ljpeg", "-lm")
_PACKAGES = (
    "Debian and Ubuntu: apt-get install gcc libc6-dev libjpeg-dev; Fedora: dnf install gcc libjpeg-turbo-devel; "
    "conda: conda install -c conda-forge c-compiler libjpeg-turbo"
)


def library_path() -> Path | None:
    """Where the library of the present sources has been built, or None."""
    folders = [_SOURCES]
    with suppress(OSError):  # no home: nothing can be in the cache
        folders.append(cache_folder("native"))
    found = (folder / _file_name() for folder in folders)
    return next((path for path in found if path.is_file()), None)


def compile_library() -> Path:
    """Compile the sources and return the library's path.

    It is written to this folder, or to the user's cache folder where this one cannot be written.

    Raises:
        UserError: there is no compiler or no libjpeg-turbo, or the sources do not compile.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(compiler[0]) is None:
        raise UserError(f"build-native: the C compiler {compiler[0]!r} is not there. {_PACKAGES}")
    folder = _writable_folder()
    handle, unfinished = tempfile.mkstemp(suffix=".unfinished", dir=folder)
    os.close(handle)
    try:
        _run([*compiler, *_arguments(), "-o", unfinished])
        Path(unfinished).chmod(0o755)
        path = folder / _file_name()
        Path(unfinished).replace(path)  # other processes see the whole library or none
    finally:
        Path(unfinished).unlink(missing_ok=True)
    return path


def _arguments() -> list[str]:
    """Everything but the compiler and the output: flags, sources, libraries, those of a conda environment too."""
    include, libraries = Path(sys.prefix, "include"), Path(sys.prefix, "lib")
    own = []
    if (include / "jpeglib.h").is_file():
        own = [f"-I{include}", f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    extra = shlex.split(os.environ.get("CFLAGS", "")), shlex.split(os.environ.get("LDFLAGS", ""))
    sources = [str(path) for path in sorted(_SOURCES.glob("*.c"))]
    return [*_FLAGS, *extra[0], *sources, *own, *extra[1], *_LIBRARIES]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return
    output = done.stderr.strip()
    if "jpeglib.h" in output or "-ljpeg" in output:
        raise UserError(f"build-native: libjpeg-turbo with its header jpeglib.h is not there. {_PACKAGES}")
    if "JCS_EXT_RGBX" in output or "jpeg_crop_scanline" in output:
        raise UserError(f"build-native: the libjpeg that is there is not libjpeg-turbo. {_PACKAGES}")
    if "stdlib.h" in output:
        raise UserError(f"build-native: the C library's headers are not there. {_PACKAGES}")
    first_lines = "\n".join(output.splitlines()[:20])
    raise UserError(
        f"build-native: {command[0]} ended with status {done.returncode}; gcc 9, clang 10 or later compile it:\n"
        f"{first_lines}"
    )


def _file_name() -> str:
    digest = hashlib.sha256(f"{platform.machine()} {_FLAGS}".encode())
    for path in sorted((*_SOURCES.glob("*.c"), *_SOURCES.glob("*.h"))):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return f"swin_native_{digest.hexdigest()[:16]}.so"


def _writable_folder() -> Path:
    if os.access(_SOURCES, os.W_OK):
        return _SOURCES
    folder = cache_folder("native")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder

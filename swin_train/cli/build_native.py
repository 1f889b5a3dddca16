"""``main.py build-native``."""

from collections.abc import Sequence

from swin_train.cli.arguments import Parser
from swin_train.cli.output import print_result
from swin_train.data.native.build import compile_library

_DESCRIPTION = """\
Compile the optional C extension that decodes and augments pictures in threads (DATA.PIPELINE native).

It takes a C compiler and libjpeg-turbo with its header:
  Debian, Ubuntu  apt-get install gcc libc6-dev libjpeg-dev
  Fedora          dnf install gcc libjpeg-turbo-devel
  conda           conda install -c conda-forge c-compiler libjpeg-turbo
The result lies beside the sources in the package, or in ~/.cache/swin_train/native where the package
cannot be written."""

_EXAMPLES = """\
  python main.py build-native
  CC=clang python main.py build-native"""


def run(argv: Sequence[str]) -> int:
    """Run ``main.py build-native``."""
    Parser("main.py build-native", _DESCRIPTION, _EXAMPLES).read(argv)
    print_result(f"built {compile_library()}")
    return 0

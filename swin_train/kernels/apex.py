"""Where NVIDIA's apex is installed: its fused classes."""

import importlib


def apex_class(module: str, name: str) -> type | None:
    """A class of NVIDIA's apex, or None where that is not installed.

    PyPI's package called apex is another project; it has none of these modules.

    Args:
        module: a module of apex, such as "apex.optimizers".
        name: a class in it, such as "FusedAdam".
    """
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None

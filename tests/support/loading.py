"""Load the tree's Salt modules from disk, under names that cannot collide.

`_modules/classhub_image.py` and `_states/classhub_image.py` cannot both be `classhub_image`, so each is registered
as `classhub_<kind>_<name>`.
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load(kind: str, name: str) -> ModuleType:
    """The module `_<kind>/<name>.py` of the tree, freshly executed."""
    module_name = f"classhub_{kind}_{name}"
    spec = importlib.util.spec_from_file_location(module_name, ROOT / f"_{kind}" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def program(name: str) -> ModuleType:
    """The program `bin/<name>` of the tree as a module, not begun; nothing compiled is left beside it."""
    module_name = f"classhub_bin_{name.replace('-', '_')}"
    loader = importlib.machinery.SourceFileLoader(module_name, str(ROOT / "bin" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(module_name, loader))
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module

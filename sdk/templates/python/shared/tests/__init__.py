"""Lets the tests import src/component.py, and the types that build.py wrote to bindings/."""

import pathlib
import sys

root = pathlib.Path(__file__).resolve().parent.parent
if not (root / "bindings").is_dir():
    sys.exit("there are no bindings\nhint: run `python3 build.py` first")
sys.path[:0] = [str(root / "src"), str(root / "bindings")]

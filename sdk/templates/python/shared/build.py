#!/usr/bin/env python3
"""Builds component.wasm: src/component.py, what it imports, and a Python interpreter.

The first run installs the tool for that into .venv. `--debug` leaves WASI in: an uncaught exception
is then written to the component's log, but the component can tell the time and roll dice.
"""

import pathlib
import shutil
import subprocess
import sys
import venv

here = pathlib.Path(__file__).resolve().parent
tool = here / ".venv/bin/componentize-py"


def run(*command):
    subprocess.run([str(part) for part in command], cwd=here, check=True)


if not tool.exists():
    venv.create(here / ".venv", with_pip=True)
    run(here / ".venv/bin/pip", "install", "--quiet", "--requirement", "requirements.txt")

# The tests and an editor read these; what is built makes its own.
shutil.rmtree(here / "bindings", ignore_errors=True)
run(tool, "--quiet", "--wit-path", "wit", "bindings", "bindings")

options = [] if "--debug" in sys.argv else ["--stub-wasi"]
output = ["--output", "component.wasm"]
run(tool, "--wit-path", "wit", "componentize", "component", "--python-path", "src", *output, *options)

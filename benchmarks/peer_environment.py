"""An environment of RecTools' own, for it needs older packages than this project has."""

import subprocess
import sys
from pathlib import Path
from typing import Final

# torch alone first: pip would otherwise try release after release of RecTools to find one that goes with it.
INSTALLS: Final = (("torch==2.13.0",), ("rectools[torch]==0.19.*", "implicit==0.7.*", "numpy==1.26.*", "pyarrow<22"))
CHECK: Final = """
import implicit, numpy, pyarrow, pytorch_lightning, rectools, torch
from importlib.metadata import version
wanted = {"torch": "2.13.", "rectools": "0.19.", "implicit": "0.7.", "numpy": "1.26."}
assert all(version(name).startswith(release) for name, release in wanted.items())
assert int(pyarrow.__version__.partition(".")[0]) < 22
"""


def peer_python(folder: Path) -> Path:
    """Return the interpreter of the virtual environment in a folder, which is made first where it is not complete."""
    python = folder / "bin" / "python"
    if not is_complete(python):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for packages in INSTALLS:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    if not is_complete(python):
        raise SystemExit(f"{python} has not what RecTools needs, though pip installed {INSTALLS}")
    return python


def is_complete(python: Path) -> bool:
    """Whether an interpreter has all packages, in the releases that are compared."""
    return python.exists() and subprocess.run([str(python), "-c", CHECK], capture_output=True).returncode == 0

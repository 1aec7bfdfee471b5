"""The project's scripts, run as a user would."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: object) -> None:
    """Runs a script of the project's top level, or below it; raises CalledProcessError where it fails."""
    subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)], cwd=ROOT, check=True)

"""List the commands."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from . import __version__


def commands() -> dict[str, str]:
    """Every command's name and first docstring line, read from the sources so that nothing heavy is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "def main(" in source and path.stem not in ("__main__", "cli"):
            doc = ast.get_docstring(ast.parse(source)) or ""
            found[path.stem] = doc.split("\n")[0]
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        name = sys.argv[1]
        print(
            f"error: call a command by its module: python -m lpr.{name}"
            if name in commands()
            else f"error: there is no command {name!r}; python -m lpr lists them",
            file=sys.stderr,
        )
        sys.exit(2)
    print(f"lpr {__version__}: reads licence plates from tracks of low-resolution frames\n")
    for name, line in commands().items():
        print(f"  python -m lpr.{name:<12} {line}")
    print("\nEach answers -h.")

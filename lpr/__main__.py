"""List the commands."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .cli import run
from .types import UsageError


def commands() -> dict[str, str]:
    """Every command's name and first docstring line, read from the sources so that nothing heavy is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "def main(" in source and path.stem not in ("__main__", "cli"):
            doc = ast.get_docstring(ast.parse(source)) or ""
            found[path.stem] = doc.split("\n")[0]
    return found


def main(argv: Sequence[str]) -> None:
    if argv:
        known = argv[0] in commands()
        fix = f"call a command by its module: python -m lpr.{argv[0]}" if known else "python -m lpr lists the commands"
        raise UsageError(f"python -m lpr takes no arguments, such as {argv[0]!r}", fix=fix)
    print(f"lpr {__version__}: reads licence plates from tracks of low-resolution frames\n")
    for name, line in commands().items():
        print(f"  python -m lpr.{name:<12} {line}")
    print("\nEach answers -h.")


if __name__ == "__main__":
    run(main)

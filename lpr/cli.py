"""What every command shares: running, its exit codes, progress and tables on stderr."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

from .types import InputError, Problem, UsageError

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors read like all other errors of the project (exit code 2)."""

    def __init__(self, module: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"python -m {module}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_several(self, flag: str, metavar: str, meaning: str) -> None:
        """An option of one or more values, [] by default. Given again, it adds to them: none is lost silently."""
        self.add_argument(flag, nargs="+", action="extend", default=[], metavar=metavar, help=meaning)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, fix=f"see {self.prog} -h")


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Call a command's `main` and turn what people can cause into a clear line and an exit code.

    0 done, 1 bad data, 2 wrong usage, 130 interrupted. A defect of ours keeps its traceback.
    """
    # OpenMP's threads shall sleep while they wait, not spin: with one busy neighbour on two cores, two spinning threads
    # trained 18 images/s and two sleeping ones 144. It is read once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = main(sys.argv[1:]) or 0
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # `| head` closed our output: nothing is wrong. Point stdout elsewhere so that shutdown does not complain.
        sys.stdout = None
        code = 0
    sys.exit(code)


def console() -> Console:
    """The rich console on stderr, where progress and tables go; results go to stdout or files."""
    from rich.console import Console

    # No markup: paths and ids may hold brackets.
    return Console(stderr=True, highlight=False, markup=False)


def track_progress(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Iterate with a progress bar on stderr (silent where stderr is no terminal; callers print their own summary)."""
    from rich.progress import track

    return track(items, description=description, total=total, console=console(), transient=True)


def show_problems(problems: Sequence[Problem], limit: int = 20) -> None:
    """Print problems to stderr, errors first, at most `limit` of them and then how many more there are."""
    ordered = sorted(problems, key=lambda p: p.severity != "error")
    for problem in ordered[:limit]:
        print(f"{problem.severity}: {problem}", file=sys.stderr)
    if len(ordered) > limit:
        print(f"... and {len(ordered) - limit} more", file=sys.stderr)

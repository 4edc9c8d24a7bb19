#!/usr/bin/env bash
# Install and run everything that checks the project: linter, types, tests. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
"$python" -m ruff check .
"$python" -m mypy
"$python" -m pytest "$@"

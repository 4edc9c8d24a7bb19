# Sourced by the other scripts: a virtual environment with everything in requirements.txt, made once.
#   PYTHON    the interpreter to make it with (default python3; 3.11 or newer)
#   LPR_VENV  where it lies (default .venv); an activated environment of your own: LPR_VENV="$VIRTUAL_ENV"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON="${PYTHON:-python3}"
LPR_VENV="${LPR_VENV:-.venv}"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $PYTHON is older than Python 3.11; name a newer one: PYTHON=python3.12 bash $0" >&2
    exit 2
}

# The stamp makes a second call free, and an edited requirements.txt install again.
stamp="$LPR_VENV/.lpr-requirements"
if ! cmp -s requirements.txt "$stamp"; then
    echo "installing into $LPR_VENV (torch is about 6 GB with its CUDA libraries, some 3 minutes) ..." >&2
    [ -x "$LPR_VENV/bin/python" ] || "$PYTHON" -m venv "$LPR_VENV"
    "$LPR_VENV/bin/python" -m pip install --disable-pip-version-check -r requirements.txt
    cp requirements.txt "$stamp"
fi
python="$LPR_VENV/bin/python"

# train_run RUN ARGS... -- PRESETS...: start the run, or go on with it where an earlier call was stopped. A run that goes on
# has presets and settings of its own; those that are named again with --set must be the same.
train_run() {
    local run="$1" words=()
    shift
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    if [ -f "$run/last.pt" ]; then set -- --resume; else set -- --preset "${@:2}"; fi
    "$python" -m lpr.train --run "$run" "$@" "${words[@]}"
}

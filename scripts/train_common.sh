# Sourced by train_phase1.sh and train_phase2.sh: environment, data folder, preset.
if [ "${1:-}" = "-h" ] || [ "${1:-}" = "--help" ]; then
    cat <<'USAGE'
bash scripts/train_phase1.sh [DATA] [--set train.epochs=10 ...]     train on all scenarios -> runs/phase1
bash scripts/train_phase2.sh [DATA] [--set ...]                     fine-tune it on Scenario-B -> runs/phase2

A run that was stopped goes on. Without DATA and LPR_DATA a synthetic set is made first.
  DATA, LPR_DATA  the training tracks
  LPR_PRESET      the recogniser's preset (default: seed-crnn with a GPU, cpu without)
  LPR_RUN         the run folder (default: runs/phase1 or runs/phase2)
USAGE
    exit 0
fi
data="${LPR_DATA:-}"
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    data="$1"
    shift
fi
# setup.sh changes to the repository's folder; the data may lie beside the caller's.
if [ -n "$data" ]; then
    [ -e "$data" ] || { echo "error: $data: no such folder" >&2; exit 1; }
    data="$(cd "$(dirname "$data")" && pwd)/$(basename "$data")"
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

# Phase 2 starts from phase 1, unless it goes on or another start is named.
if [ -n "${needs:-}" ] && [ ! -e "$needs" ] && [ ! -f "${LPR_RUN:-runs/phase2}/last.pt" ] && [[ "$*" != *train.init_from=* ]]; then
    echo "error: $needs is not there: run scripts/train_phase1.sh first, or name a start: --set train.init_from=RUN" >&2
    exit 1
fi

if "$python" -c 'import sys; from lpr.model.devices import default_device; sys.exit(default_device().type == "cpu")'; then
    preset="${LPR_PRESET:-seed-crnn}"
    # One loader process prepares some 2,600 frames a second, which a GPU waits for. Settings of the caller's come later.
    set -- --set "data.workers=$(nproc)" "$@"
else
    preset="${LPR_PRESET:-cpu}"
    echo "no GPU found: taking the preset $preset (LPR_PRESET=name takes another)" >&2
fi
if [ -z "$data" ]; then
    data="data/synthetic"
    echo "no data folder given (argument or LPR_DATA): making a synthetic set in $data, about 2 minutes on 2 cores." >&2
    echo "training on it with the preset cpu takes about 30 minutes for phase 1 and 6 for phase 2 on 2 cores." >&2
    "$python" -m lpr.synth --out "$data" --tracks "${TRACKS:-4000}" --hardness easy --seed 1
fi

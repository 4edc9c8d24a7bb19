# Sourced by train_phase1.sh and train_phase2.sh: environment, data folder, preset.
#   $1 or LPR_DATA  the training tracks; without both a synthetic set is made first
#   LPR_PRESET      the recogniser's preset (default: seed-crnn with a GPU, cpu without)
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

data="${LPR_DATA:-}"
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    data="$1"
    shift
fi
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    preset="${LPR_PRESET:-seed-crnn}"
else
    preset="${LPR_PRESET:-cpu}"
    echo "no GPU found: taking the preset $preset (LPR_PRESET=name takes another)" >&2
fi
if [ -z "$data" ]; then
    data="data/synthetic"
    echo "no data folder given (argument or LPR_DATA): making a synthetic set in $data, about 2 minutes on 2 cores." >&2
    "$python" -m lpr.synth --out "$data" --tracks "${TRACKS:-4000}" --hardness easy --seed 1
fi

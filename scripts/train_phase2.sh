#!/usr/bin/env bash
# Phase 2: fine-tune phase 1's best checkpoint on Scenario-B. -h says more.
source "$(dirname "${BASH_SOURCE[0]}")/train_common.sh"
if [ ! -e runs/phase1 ] && [[ "$*" != *train.init_from=* ]]; then
    echo "error: runs/phase1 is not there: run scripts/train_phase1.sh first, or name a start: --set train.init_from=RUN" >&2
    exit 1
fi
# Behind the recogniser's preset: those for GPUs have schedules of their own, for training from nothing.
train_run "${LPR_RUN:-runs/phase2}" "phase1 $preset phase2" --data "$data" "$@"

#!/usr/bin/env bash
# Phase 2: fine-tune phase 1's best checkpoint on Scenario-B. -h says more.
needs=runs/phase1
source "$(dirname "${BASH_SOURCE[0]}")/train_common.sh"
# Behind the recogniser's preset: those for GPUs have schedules of their own, for training from nothing.
train_run "${LPR_RUN:-runs/phase2}" --data "$data" "$@" -- phase1 "$preset" phase2

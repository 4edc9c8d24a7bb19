#!/usr/bin/env bash
# Phase 2: fine-tune phase 1's best checkpoint on Scenario-B. -h says more.
source "$(dirname "${BASH_SOURCE[0]}")/train_common.sh"
train_run "${LPR_RUN:-runs/phase2}" --preset phase2 "$preset" --data "$data" "$@"

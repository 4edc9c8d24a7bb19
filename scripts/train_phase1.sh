#!/usr/bin/env bash
# Phase 1: train on all scenarios. -h says more.
source "$(dirname "${BASH_SOURCE[0]}")/train_common.sh"
train_run "${LPR_RUN:-runs/phase1}" --data "$data" "$@" -- phase1 "$preset"

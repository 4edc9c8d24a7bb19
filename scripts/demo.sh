#!/usr/bin/env bash
# The whole product on data it makes itself: install, make tracks, train both phases, read the test set, write and
# check the submission, measure. About 15 minutes on 2 cores after installation; a second call continues where the
# first one was stopped. Folders: data/demo, runs/demo-phase1, runs/demo-phase2, submissions/demo.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
started=$SECONDS
step() { printf '\n== [%d:%02d] %s\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) "$*" >&2; }

# TRACKS and TEST_TRACKS make a smaller or larger demo.
tracks="${TRACKS:-2000}"
test_tracks="${TEST_TRACKS:-300}"

step "making $tracks training tracks and $test_tracks test tracks (hardness: easy)"
"$python" -m lpr.synth --out data/demo/train --tracks "$tracks" --hardness easy --seed 1
"$python" -m lpr.synth --out data/demo/test --tracks "$test_tracks" --hardness easy --seed 2 --split test

step "checking the training data"
"$python" -m lpr.check data/demo/train

step "phase 1: all scenarios (about 8 minutes on 2 cores)"
train_run runs/demo-phase1 --preset phase1 cpu demo --data data/demo/train "$@"

step "phase 2: Scenario-B (about 3 minutes on 2 cores)"
train_run runs/demo-phase2 --preset phase2 cpu demo --data data/demo/train \
    --set train.init_from=runs/demo-phase1 "$@"

step "reading the test tracks"
"$python" -m lpr.infer --tracks data/demo/test --checkpoint runs/demo-phase2 --out submissions/demo

step "checking the submission"
"$python" -m lpr.submission check submissions/demo/predictions.zip --tracks data/demo/test

step "measuring"
"$python" -m lpr.evaluate submissions/demo/predictions.jsonl --truth data/demo/test_truth.csv \
    --tracks data/demo/test --out submissions/demo/report

step "done. Error report: submissions/demo/report/index.html, pictures: submissions/demo/pictures.png"

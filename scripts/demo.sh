#!/usr/bin/env bash
# The whole product on data it makes itself. First, within a minute or two of the installation: `hard` tracks, read with
# the shipped weights, the submission checked, the result measured. Then a training of one's own, both phases, on `easy`
# tracks: 5 to 15 minutes on 2 cores. A second call continues where the first one was stopped. Folders: data/demo,
# runs/demo-phase1, runs/demo-phase2, submissions/demo-shipped, submissions/demo.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
started=$SECONDS
step() { printf '\n== [%d:%02d] %s\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) "$*" >&2; }

# TRACKS and TEST_TRACKS make a smaller or larger demo.
tracks="${TRACKS:-2000}"
test_tracks="${TEST_TRACKS:-300}"

# measure TEST OUT CHECKPOINT: read a test set, check the submission, compare with the truth.
measure() {
    "$python" -m lpr.infer --tracks "$1" --checkpoint "$3" --out "$2"
    "$python" -m lpr.submission check "$2/predictions.zip" --tracks "$1"
    "$python" -m lpr.evaluate "$2/predictions.jsonl" --truth "$1_truth.csv" --tracks "$1" --out "$2/report"
}

step "making $test_tracks hard test tracks and reading them with the shipped weights"
"$python" -m lpr.synth --out data/demo/hard --tracks "$test_tracks" --hardness hard --seed 2026 --split test
measure data/demo/hard submissions/demo-shipped lpr/weights/brazil.safetensors
step "report: submissions/demo-shipped/report/index.html, pictures: submissions/demo-shipped/pictures.png"

step "making $tracks training tracks and $test_tracks test tracks (hardness: easy)"
"$python" -m lpr.synth --out data/demo/train --tracks "$tracks" --hardness easy --seed 1
"$python" -m lpr.synth --out data/demo/test --tracks "$test_tracks" --hardness easy --seed 2 --split test

step "checking the training data"
"$python" -m lpr.check data/demo/train

step "phase 1: all scenarios (2 to 8 minutes on 2 cores)"
train_run runs/demo-phase1 --data data/demo/train "$@" -- phase1 cpu demo

step "phase 2: Scenario-B (1 to 3 minutes on 2 cores)"
train_run runs/demo-phase2 --data data/demo/train --set train.init_from=runs/demo-phase1 "$@" -- phase2 cpu demo

step "reading the easy test tracks with what was trained"
measure data/demo/test submissions/demo runs/demo-phase2

step "done. Error report: submissions/demo/report/index.html, pictures: submissions/demo/pictures.png"

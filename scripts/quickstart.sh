#!/usr/bin/env bash
# Everything PATrack does, at small size, on any machine: no GPU, no data set, no network besides the package index.
#   bash scripts/quickstart.sh
# It installs into .venv, draws a small RGB-thermal benchmark, trains adapters on the shipped base model, tracks the
# test sequences, prints the result table and makes plots and an overlay video. All of it lands in quickstart/; data and
# training that are finished are kept when it is run again. Delete quickstart/ to start anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out="${QUICKSTART_OUTPUT:-quickstart}"          # folder for data, runs and results
train_sequences="${QUICKSTART_SEQUENCES:-64}"   # of 30 frames each
test_sequences="${QUICKSTART_TEST_SEQUENCES:-8}"  # of 50 frames each
samples="${QUICKSTART_SAMPLES:-3000}"           # training pairs
start=$SECONDS

step() { printf '\n[%d s] %s\n' "$((SECONDS - start))" "$1"; }

step "1/5 Installation"
if [[ -z "${QUICKSTART_PYTHON:-}" ]]; then bash scripts/install.sh; fi
python="${QUICKSTART_PYTHON:-.venv/bin/python}"
threads="$("$python" -c 'import os; print(min(os.cpu_count() or 1, 8))')"

step "2/5 Drawing a small RGB-thermal benchmark (SynthRGBX)"
synth=(scripts/make_synthrgbx.py --output "$out/data/SynthRGBX" --modality rgbt --workers "$threads")
"$python" "${synth[@]}" --split train --count "$train_sequences" --length 30
"$python" "${synth[@]}" --split test --count "$test_sequences" --length 50

step "3/5 Training the adapters; the base model stays frozen"
run="$out/runs/quickstart"
if [[ -f "$run/adapters.safetensors" ]]; then
  echo "kept: $run (delete it to train anew)"
else
  resume=()
  if [[ -d "$run" ]]; then resume=(--resume); fi
  "$python" tracking/train.py --config rgbt_tiny --data-root "$out/data" --output "$out/runs" --threads "$threads" \
    ${resume[@]+"${resume[@]}"} name=quickstart train.epochs=1 "data.samples_per_epoch=$samples" "data.val=[]"
fi

step "4/5 Tracking the test sequences: RGB alone, then RGB with thermal"
track() {
  local name="$1"
  shift
  "$python" tracking/test.py --dataset synthrgbt --data-root "$out/data" --output "$out/results/$name" --overwrite \
    --device cpu "$@"
}
track rgb_only --config rgbt_tiny --checkpoint none model.streams=rgb
track rgb_thermal --config "$run"

step "5/5 Scores, plots and an overlay video"
"$python" tracking/evaluate.py --dataset synthrgbt --data-root "$out/data" --plots "$out/plots" \
  --json "$out/scores.json" --results "RGB=$out/results/rgb_only" "RGB+thermal=$out/results/rgb_thermal" | tee "$out/table.txt"
sequence="$out/data/SynthRGBX/rgbt/testingset/test_000$((test_sequences > 5 ? 5 : 0))"  # the sixth goes dark
"$python" tracking/test.py --config "$run" --rgb "$sequence/visible" --x "$sequence/infrared" --device cpu \
  --ground-truth "$sequence/visible.txt" --output "$out/overlay" --overwrite

step "Done"
cat <<TXT
  table     $out/table.txt ($out/scores.json has every digit)
  plots     $out/plots/success.png, precision.png, normalized_precision.png
  video     $out/overlay/overlay.mp4 (green: PATrack, magenta: the true box)
  adapters  $run/adapters.safetensors, with its config and training log beside it
TXT

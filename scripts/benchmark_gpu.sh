#!/usr/bin/env bash
# Measures every row that needs a GPU, in one call of at most 8 minutes, and leaves a log per row in a folder:
#   bash scripts/benchmark_gpu.sh OUT
#   DEVICE=cpu CONFIG=rgbt_tiny bash scripts/benchmark_gpu.sh OUT    # the same at a tiny size, to see that it runs
# Sections of tracking/profile_speed.py; training from JPEG files with and without train.compile; tracking many sequences in
# lock step and one after the other. Weights are untrained, all frames are drawn here. A row that fails or takes too
# long doesn't stop the others; the exit code is then 1.
set -euo pipefail
if [[ $# -ne 1 ]]; then
  echo "usage: bash scripts/benchmark_gpu.sh OUT" >&2
  exit 2
fi
mkdir -p "$1"
out="$(cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

config="${CONFIG:-rgbt_base}"
device="${DEVICE:-cuda}"
python="${PYTHON:-.venv/bin/python}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
cores="$(getconf _NPROCESSORS_ONLN)"
loaders=$((cores > 1 ? cores - 1 : 1))
if [[ "$device" == cpu ]]; then  # a trial
  size=160x120 train_sequences=2 test_sequences=3 length=20 batch=4 steps=3 targets=2
  quick=(--quick --size 160x120 --threads 1) slack=3
  export OMP_NUM_THREADS=1
else
  size=640x480 train_sequences=32 test_sequences=64 length=40 batch=32 steps=60 targets=64
  quick=() slack=1
fi

failed=0
summary=()
row() { # row NAME SECONDS COMMAND...: at most so long; its output in OUT/NAME.log
  local name="$1" limit=$(($2 * slack)) start=$SECONDS code=0 verdict=ok
  shift 2
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1 || code=$?
  if [[ $code -eq 124 || $code -eq 137 ]]; then verdict="stopped after $limit s"; elif [[ $code -ne 0 ]]; then verdict="FAILED ($code)"; fi
  if [[ $code -ne 0 ]]; then failed=1; fi
  summary+=("$(printf '%-18s %-20s %4d s' "$name" "$verdict" "$((SECONDS - start))")")
  printf '%s\n' "${summary[-1]}"
}
numbers() { # numbers NAME PATTERN: the last line of a log that holds the result
  printf '%-18s %s\n' "$1" "$(grep -aE "$2" "$out/$1.log" | tail -n 1 || true)"
}

rm -rf "$out/data" "$out/runs" "$out/results" "$out"/*.safetensors
synth=(scripts/make_synthrgbx.py --output "$out/data/SynthRGBX" --modality rgbt --size "$size" --length "$length")
row draw_train 25 "$python" "${synth[@]}" --split train --count "$train_sequences"
row draw_test 45 "$python" "${synth[@]}" --split test --count "$test_sequences"
row weights 25 "$python" -c '
import sys
from patrack import config
from lib.profiling.case import untrained_model
from patrack.weights import save_base_model, save_model
model = untrained_model(config.load(sys.argv[1]))
save_model(model, sys.argv[2])
save_base_model(model, sys.argv[3])
' "$config" "$out/untrained.safetensors" "$out/base_model.safetensors"

bench=("$python" tracking/profile_speed.py --config "$config" --device "$device" ${quick[@]+"${quick[@]}"})
row bench_forward 50 "${bench[@]}" --only forward step --json "$out/bench_forward.json"
row bench_endtoend 50 "${bench[@]}" --only endtoend roofline --json "$out/bench_endtoend.json"
row bench_batch 80 "${bench[@]}" --only batch --json "$out/bench_batch.json" --plots "$out"
row bench_training 50 "${bench[@]}" --only training --json "$out/bench_training.json"

train=("$python" tracking/train.py --config "$config" --device "$device" --data-root "$out/data" --output "$out/runs"
  train.epochs=1 train.precision=bf16 train.print_every=$((steps > 10 ? 10 : 1)) "train.total_batch_size=$batch"
  "data.samples_per_epoch=$((batch * steps))" "data.num_workers=$loaders" data.max_gap=30
  "data.train=[{name: synthrgbt, split: train}]" "data.val=[]" "model.base_model=$out/base_model.safetensors")
row train_eager 40 "${train[@]}" name=eager
row train_compiled 60 "${train[@]}" name=compiled train.compile=true

track=("$python" tracking/test.py --config "$config" --device "$device" --dataset synthrgbt --data-root "$out/data"
  --checkpoint "$out/untrained.safetensors")
row track_batched 30 "${track[@]}" --batch "$targets" --output "$out/results/batched" test.precision=bf16
row track_single 20 "${track[@]}" --output "$out/results/single" --sequences test_0000 test_0001

printf '\nSummary, %s on %s, %s cores (logs in %s)\n' "$config" "$device" "$cores" "$out"
printf '%s\n' "${summary[@]}"
for name in bench_forward bench_endtoend bench_batch bench_training; do
  printf '\n'
  grep -aE ' (ms|pairs/s|MiB|GFLOP|GFLOP/s|GB/s) | / ' "$out/$name.log" || true
done
printf '\n'
for name in train_eager train_compiled; do numbers "$name" 'samples/s'; done
for name in track_batched track_single; do numbers "$name" 'FPS|frames/s'; done
exit "$failed"

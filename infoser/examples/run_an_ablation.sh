#!/usr/bin/env bash
# What do the information terms (cgan has none), the text (infogan-notext does without) and the share of generated rows each do?
# Trains one experiment for each share and gathers all scores in one table. Cut off, it goes on where it was.
#
#   bash infoser/examples/run_an_ablation.sh FOLDER PRESET [FLAG...]      flags of train.py, for all experiments
#   bash infoser/examples/run_an_ablation.sh runs/ablation iemocap --data-dir data --seeds 0 1 2
#   RATIOS='0.25 0.5 1 2' VARIANTS='none noise cgan infogan infogan-notext' are the defaults.
set -euo pipefail
if (($# < 2)); then
  echo "usage: bash $0 FOLDER PRESET [FLAG...]" >&2
  exit 2
fi
folder=$1
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
read -ra ratios <<< "${RATIOS:-0.25 0.5 1 2}"
read -ra variants <<< "${VARIANTS:-none noise cgan infogan infogan-notext}"

for ratio in "${ratios[@]}"; do # generated rows for each real one
  python "$root/train.py" "$@" --variants "${variants[@]}" --generate.ratio "$ratio" --run-dir "$folder/generate.ratio=$ratio"
done

# One table, with the experiment in its first column.
for ratio in "${ratios[@]}"; do
  awk -v name="generate.ratio=$ratio" '{ print (NR == 1 ? "experiment" : name) "," $0 }' "$folder/generate.ratio=$ratio/scores.csv"
done | awk 'NR == 1 || !/^experiment,/' > "$folder/scores.csv"
echo "written to $folder/scores.csv: ${#ratios[@]} experiments"

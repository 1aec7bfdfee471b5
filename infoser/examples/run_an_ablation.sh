#!/usr/bin/env bash
# What do the information terms, the text and the share of generated rows each do? Trains the named ablations as one experiment
# and makes a page of it. Cut off, it goes on where it was; a further seed or ablation trains only what is missing.
#
#   bash infoser/examples/run_an_ablation.sh RUN PRESET [FLAG...]      flags of train.py
#   bash infoser/examples/run_an_ablation.sh runs/ablation iemocap --data-dir data --seeds 0 1 2
#   ABLATIONS='mutual_information cross_modal ratio' is the default; `python train.py PRESET --help` names them all.
set -euo pipefail
if (($# < 2)); then
  echo "usage: bash $0 RUN PRESET [FLAG...]" >&2
  exit 2
fi
run=$1
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
read -ra ablations <<< "${ABLATIONS:-mutual_information cross_modal ratio}"

# How many cells, and about how long: said before anything is trained. One table for the paper: table.md, table.tex.
python "$root/train.py" "$@" --ablate "${ablations[@]}" --run-dir "$run"
# The page: open RUN/report/index.html in a browser.
python "$root/eval.py" report "$run"

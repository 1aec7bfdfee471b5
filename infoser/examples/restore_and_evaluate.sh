#!/usr/bin/env bash
# Someone else's run folder, or one of long ago: do its checkpoints give the numbers it came with, how good are its generated
# rows, what do they look like elsewhere, and what does it say of recordings? Needs the corpus that it was trained on, and nothing
# of the training.
#
#   bash infoser/examples/restore_and_evaluate.sh RUN [FLAG...] [-- RECORDING...]      QUALITY='--repeats 2' for eval.py quality,
#     GENERATE='--variant infogan --fold session1 --per-class 100 --format parquet' for eval.py generate
#   bash infoser/examples/restore_and_evaluate.sh runs/iemocap --data-dir data          # the corpus was moved
#   bash infoser/examples/restore_and_evaluate.sh runs/mine -- clip.wav other.flac      # with the extra `encoders`
set -euo pipefail
if (($# < 1)); then
  echo "usage: bash $0 RUN [FLAG...] [-- RECORDING...]" >&2
  exit 2
fi
flags=()
while (($# > 0)) && [[ $1 != -- ]]; do
  flags+=("$1")
  shift
done
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Every run from its checkpoint, in a new process: ends with an error if a digit differs from results.json.
python "$root/eval.py" score "${flags[@]}" --details
# Generated rows beside real ones: writes panel.json and panel.csv into the run folder; a run may have none.
read -ra quality <<< "${QUALITY:-}"
python "$root/eval.py" quality "${flags[@]}" "${quality[@]}" || echo "going on without quality" >&2
# All of it on one page, RUN/report/index.html.
python "$root/eval.py" report "${flags[@]}"
# Generated rows for other tools, with a data card: if GENERATE says whose, and how many.
if [[ -n ${GENERATE:-} ]]; then
  read -ra generate <<< "$GENERATE"
  python "$root/eval.py" generate "${flags[@]}" "${generate[@]}" --out "${flags[0]}/synthetic" --overwrite
fi
# Recordings go through the encoders that the corpus was prepared with, and the final model.
if (($# > 1)); then
  shift
  python "$root/eval.py" predict "${flags[@]:0:1}" "$@" "${flags[@]:1}" --json
fi

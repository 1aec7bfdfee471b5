#!/usr/bin/env bash
# Trains one experiment on several hosts: start it on each of them with the same flags. When a host is lost all end, and start
# again from the last checkpoint.
#
#   bash infoser/examples/train_on_a_pod.sh PRESET [FLAG...]      the flags of train.py; TRIES=5 starts at most
#
# A TPU pod, whose hosts find each other (POD, ZONE: yours; the README says how they are set up):
#   gcloud compute tpus tpu-vm ssh POD --zone ZONE --worker=all --command \
#     'cd infoser && PATH=$PWD/.venv/bin:$PATH bash infoser/examples/train_on_a_pod.sh iemocap --run-dir runs/iemocap'
# Any two machines, on the second with --hosts.index 1:
#   bash infoser/examples/train_on_a_pod.sh iemocap --run-dir runs/iemocap \
#     --hosts.coordinator first-host:1234 --hosts.count 2 --hosts.index 0
# Under SLURM let the job be queued again instead, as in the README: srun does not start the process of a lost host again.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

tries=${TRIES:-5}
for ((try = 1; try <= tries; try++)); do
  status=0
  python "$root/train.py" "$@" || status=$?
  case $status in
    75) why='another host was lost' ;;
    137) why='this process was killed' ;;
    *) exit "$status" ;; # 0: done; 2: a mistake; 143: told to stop, and saved
  esac
  echo "try $try of $tries: $why" >&2
done
exit "$status"

#!/usr/bin/env bash
# Usage: launch.sh [JOB=1:N] LOG COMMAND...
# Runs COMMAND on this machine, once for each JOB number, in parallel; each writes its own log. The
# interface is that of Kaldi's run.pl, so queue.pl or slurm.pl can take its place (cmd.sh).
# If a job fails, the end of its log is shown.
set -uo pipefail

first=1 last=1 name=
if [[ $1 =~ ^([A-Z]+)=([0-9]+):([0-9]+)$ ]]; then
  name=${BASH_REMATCH[1]} first=${BASH_REMATCH[2]} last=${BASH_REMATCH[3]}
  shift
fi
log=$1
shift

pids=() logs=()
trap 'kill "${pids[@]}" 2>/dev/null; exit 130' INT TERM
for ((job = first; job <= last; job++)); do
  job_log=${log//${name:-$'\n'}/$job}
  command=("${@//${name:-$'\n'}/$job}")
  mkdir -p "$(dirname "$job_log")"
  echo "# ${command[*]}" >"$job_log"
  "${command[@]}" >>"$job_log" 2>&1 &
  pids+=($!) logs+=("$job_log")
done

status=0
for i in "${!pids[@]}"; do
  wait "${pids[$i]}" || {
    status=$?
    echo "launch.sh: failed with code $status; the end of ${logs[$i]}:" >&2
    tail -n 15 "${logs[$i]}" >&2
  }
done
exit "$status"

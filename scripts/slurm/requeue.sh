#!/usr/bin/env bash
# Requeue this SLURM job where another start can help: scripts/slurm/requeue.sh STATUS RUN
#   STATUS  of the run: 143 (saved, and asked to stop) and whatever says that a process or a node was lost are requeued;
#           0, 2, 3, 4, 5, 28 and 130 are not, since another start would end alike.
#   RUN     its folder: requeues in a row without a new RUN/checkpoints/step-N are counted in RUN/requeues, and no
#           more than 3 are made. A job of another id starts a new count.
set -euo pipefail

readonly LIMIT=3

say() {
    echo "requeue.sh: $*" >&2
}

if [[ $# -ne 2 || ! $1 =~ ^[0-9]+$ ]]; then
    say "two arguments are needed, STATUS and RUN; got: $*"
    exit 2
fi
status=$1
run=$2
job=${SLURM_JOB_ID:?requeue.sh: SLURM_JOB_ID is not set; this runs in a SLURM job}

newest_step() { # print the step of the newest committed checkpoint, -1 where there is none
    local newest=-1 manifest step
    for manifest in "$run"/checkpoints/step-*/MANIFEST.json; do
        [[ $manifest =~ /step-([0-9]+)/MANIFEST.json$ ]] || continue
        step=$((10#${BASH_REMATCH[1]}))
        if ((step > newest)); then newest=$step; fi
    done
    echo "$newest"
}

case $status in
    0) exit 0 ;;
    2 | 3 | 4 | 5 | 28 | 130)
        say "status $status: another start would end alike; not requeued"
        exit 0
        ;;
esac

# A job that scancel ended is to stay ended; scontrol would start it again.
state=$(scontrol show job -o "$job" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p')
if [[ $state != RUNNING ]]; then
    say "status $status, and SLURM says that the job is ${state:-unknown}, not RUNNING: not requeued"
    exit 0
fi
newest=$(newest_step)
count=0
remembered='^([0-9]+) (-?[0-9]+) ([0-9]+)$' # job, step and count of the last requeue
if [[ -f $run/requeues && $(<"$run/requeues") =~ $remembered ]]; then
    if [[ ${BASH_REMATCH[1]} == "$job" ]] && ((newest <= BASH_REMATCH[2])); then count=${BASH_REMATCH[3]}; fi
fi
found="the newest checkpoint is of step $newest"
if ((newest < 0)); then found="there is no checkpoint"; fi
if ((count >= LIMIT)); then
    say "status $status, and $LIMIT requeues in a row brought no new checkpoint ($found): not requeued." \
        "See $run/log.txt; sbatch starts a new count"
    exit 0
fi
count=$((count + 1))
if ! { mkdir -p "$run" && echo "$job $newest $count" >"$run/requeues.new" && mv "$run/requeues.new" "$run/requeues"; }; then
    say "status $status, but $run/requeues cannot be written, which counts requeues: not requeued"
    exit 0
fi
say "status $status, $found: requeued ($count of $LIMIT without a newer one)"
scontrol requeue "$job"

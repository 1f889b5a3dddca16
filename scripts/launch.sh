#!/usr/bin/env bash
# Run main.py on several GPUs or nodes under torchrun, and end with the status of the run, which torchrun does not
# tell (it ends with 1 whatever its processes end with). scripts/launch.sh --help; docs/multi_node.md.
set -euo pipefail

show_help() {
    cat <<'EOF'
Run main.py on several GPUs or nodes: scripts/launch.sh [OPTIONS] -- ARGUMENTS OF main.py

  --nproc N               processes on this node; default: one for each of its GPUs
  --nodes N | MIN:MAX     nodes; between MIN and MAX, those that are left go on when one is lost [1]
  --head HOST[:PORT]      with several nodes: the one that the others meet at, the same on each [port 29400]
  --address ADDRESS       by which other nodes reach this one, where its host name does not say it
  --id NAME               tells jobs with the same head apart [SLURM's job id, else swin_train]
  --max-restarts N        how often lost processes are started again [3]
  --shutdown-timeout S    seconds that processes get to save before they are killed [120]; torch 2.11 waits 30
  --dry-run               print the command instead of running it

TERM, USR1 and INT to this script are passed on, HUP as TERM. Its exit status is the run's: 0 done, 2 usage, 3 orphaned or
the run's lock lost, 4 numerics, 5 data, 28 storage, 130 Ctrl-C, 143 saved after TERM or USR1, else torchrun's.
PYTHON names the interpreter [python3]; SWIN_TRAIN_EXIT_FILE the file in which ranks tell how the run ended, where
all nodes should see the same one.

examples:
  # one node, all its GPUs
  scripts/launch.sh -- --cfg swin_tiny_patch4_window7_224 --data-path /data/imagenet
  # two nodes; on each of them
  scripts/launch.sh --nodes 2 --head node1:29400 -- --cfg swin_tiny_patch4_window7_224 \
      --data-path /data/imagenet --output /shared/output
  # two processes without a GPU
  scripts/launch.sh --nproc 2 -- --cfg swin_tiny_patch4_window7_224 --data-path my_pictures --batch-size 8
EOF
}

say() {
    echo "launch.sh: $*" >&2
}

mistake() {
    say "$*; see scripts/launch.sh --help"
    exit 2
}

declare -A option=([nproc]=gpu [nodes]=1 [head]='' [address]='' [id]='' [max-restarts]=3 [shutdown-timeout]=120)
dry_run=
while [[ $# -gt 0 && $1 != -- ]]; do
    case $1 in
        --help | -h)
            show_help
            exit 0
            ;;
        --dry-run) dry_run=1 ;;
        --nproc | --nodes | --head | --address | --id | --max-restarts | --shutdown-timeout)
            [[ -n ${2:-} && $2 != -* ]] || mistake "$1: its value is missing"
            option[${1#--}]=$2
            shift
            ;;
        *) mistake "unknown option $1; main.py's arguments stand behind --" ;;
    esac
    shift
done
shift || true # the two dashes
[[ $# -gt 0 ]] || mistake "nothing to run; give main.py's arguments behind --"
[[ $1 != *main.py ]] || mistake "$1 behind --: only main.py's arguments belong there"

check() { # OPTION PATTERN RIGHT: refuse a value of another form
    [[ ${option[$1]} =~ ^($2)$ ]] || mistake "--$1: ${option[$1]} is not $3"
}
check nproc 'gpu|[1-9][0-9]*' "a number of processes, or gpu"
check nodes '[1-9][0-9]*(:[1-9][0-9]*)?' "a number of nodes, or MIN:MAX"
check max-restarts '[0-9]+' "a number"
check shutdown-timeout '[0-9]+' "a number of seconds"
fewest=${option[nodes]%:*}
most=${option[nodes]#*:}
((fewest <= most)) || mistake "--nodes: $fewest:$most has more nodes at least than at most"

python=${PYTHON:-python3}
"$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' 2>/dev/null ||
    mistake "$python has no torch; activate its environment, or name another interpreter by PYTHON"

is_here() { # HOST: whether an address of this machine has that name
    "$python" - "$1" <<'EOF'
import contextlib
import socket
import sys

with contextlib.suppress(OSError):  # an unknown name is no name of this machine
    for family, kind, protocol, _, address in socket.getaddrinfo(sys.argv[1], 0, type=socket.SOCK_STREAM):
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
            sys.exit(0)
sys.exit(1)
EOF
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command=("$python" "$here/torchrun.py" --nproc-per-node "${option[nproc]}")
if ((most == 1)); then
    [[ -z ${option[head]}${option[address]}${option[id]} ]] ||
        mistake "--head, --address and --id are for several nodes; say how many by --nodes"
    command+=(--standalone --local-addr 127.0.0.1) # the host's own name need not resolve
else
    [[ -n ${option[head]} ]] || mistake "--nodes ${option[nodes]}: --head HOST:PORT is missing, where the nodes meet"
    head_is='^(\[[^]]+\]|[^]:[]+)(:([0-9]+))?$'
    [[ ${option[head]} =~ $head_is ]] || mistake "--head: ${option[head]} is not HOST or HOST:PORT"
    host=${BASH_REMATCH[1]}
    port=${BASH_REMATCH[3]:-29400}
    plain=${host#[}
    plain=${plain%]}
    # torch compares names, and misses aliases and second interfaces; the head that nobody takes itself for ends the job.
    case $plain in
        localhost | 127.0.0.1 | ::1) role= ;; # several launchers on one machine: torch takes the first one
        *) if is_here "$plain"; then role=is_host=1,; else role=is_host=0,; fi ;;
    esac
    command+=(--nnodes "${option[nodes]}" --rdzv-backend c10d --rdzv-endpoint "$host:$port")
    command+=(--rdzv-id "${option[id]:-${SLURM_JOB_ID:-swin_train}}")
    command+=(--rdzv-conf "${role}join_timeout=600,last_call_timeout=30,keep_alive_interval=5")
    [[ -z ${option[address]} ]] || command+=(--local-addr "${option[address]}")
fi
command+=(--max-restarts "${option[max-restarts]}" --monitor-interval 1)
command+=(--signals-to-handle "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1") # by default USR1 kills it, and leaves orphans
command+=("${here%/*}/main.py" "$@")
environment=(
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # else restarted ranks find the addresses of the dead ones
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${option[shutdown-timeout]}" # the option of that name is not in torch 2.11
)

if [[ -n $dry_run ]]; then
    printf '%q ' "${environment[@]}" "${command[@]}"
    echo
    exit 0
fi

given=${SWIN_TRAIN_EXIT_FILE:-}
exit_file=$given
if [[ -z $given ]]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    exit_file=$folder/exit.json
fi
old=$(cat "$exit_file" 2>/dev/null || true) # of an earlier launch

status=
reason=
weight=
final=
read_exit_file() { # set status, reason and weight; fail while no rank of this launch has told them
    local text status_is='"status": *([0-9]+)' reason_is='"reason": *"(([^"\]|\\.)*)"' weight_is='"weight": *([0-9])'
    text=$(cat "$exit_file" 2>/dev/null) && [[ $text != "$old" && $text =~ $status_is ]] || return 1
    status=${BASH_REMATCH[1]}
    reason=
    if [[ $text =~ $reason_is ]]; then reason=${BASH_REMATCH[1]//\\\"/\"}; fi
    reason=$(tr -s " " <<<"${reason//\\n/ }") # JSON's new lines; the last line tells it all
    weight=2
    if [[ $text =~ $weight_is ]]; then weight=${BASH_REMATCH[1]}; fi
}

is_final() { # whether processes that ended with $status must not be started again
    ((weight != 1)) || return 1 # torchrun stops all when it misses one, and may start them again
    case $status in
        2 | 3 | 4 | 5 | 28 | 130) return 0 ;;
        143) ((fewest == most)) ;; # where nodes may come and go, those that are left go on
        *) return 1 ;;
    esac
}

child=
passed=
pass_on() { # SIGNAL: to torchrun, once: a second one would cut short the time in which its processes save
    if [[ -n $passed && $1 != INT ]]; then
        say "SIG$1 again; the processes are still ending"
        return
    fi
    passed=$1
    [[ $1 != HUP ]] || passed=TERM # the terminal is gone: the run saves and ends, since nobody could end it later
    [[ -z $child ]] || kill "-$passed" "$child" 2>/dev/null || true
}
for signal in TERM USR1 INT HUP; do
    # shellcheck disable=SC2064 # the signal of now is meant
    trap "pass_on $signal" "$signal"
done

# With job control torchrun is a process group of its own: Ctrl-C reaches it from here alone, and is not ignored.
set -m
env "${environment[@]}" SWIN_TRAIN_EXIT_FILE="$exit_file" "${command[@]}" </dev/null &
child=$!
set +m
[[ -z $passed ]] || kill "-$passed" "$child" 2>/dev/null || true
while kill -0 "$child" 2>/dev/null; do
    if [[ -z $passed ]] && read_exit_file && is_final; then
        final=1
        say "status $status: not started again"
        pass_on TERM
    fi
    sleep 0.2 || true # Ctrl-C ends it
done
code=0
wait "$child" || code=$?

if ((code == 0)); then
    say "the run ended with status 0"
    exit 0
fi
# The rank that tells why may be on another node, and about to.
if [[ -n $given && -z $final ]] && ((most > 1)); then
    for ((i = 0; i < 50; i++)); do
        if read_exit_file; then break; fi
        sleep 0.2
    done
fi
if [[ -n $final ]] || read_exit_file; then
    if ((weight == 1)) && [[ -z $passed ]]; then # nobody asked for it here
        status=1
        reason="torchrun stopped the processes before the first update; it says above which one it missed"
    fi
    say "the run ended with status $status: $reason"
    exit "$status"
fi
say "torchrun ended with status $code, and no process told why; see the messages above"
exit "$code"

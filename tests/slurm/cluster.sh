#!/usr/bin/env bash
# A real SLURM on this machine alone: two nodes, two partitions (cpu, gpu), GPUs that are fake.
#
#   cluster.sh start FOLDER     starts it with everything it has in FOLDER; prints nothing if well
#   cluster.sh halt FOLDER      stops the controller, slurmctld
#   cluster.sh resume FOLDER    starts it again
#   cluster.sh crash FOLDER     ends all processes of the second node at once, as a power cut does
#   cluster.sh boot FOLDER      starts the second node again
#   cluster.sh stop FOLDER      stops the daemons that were started in FOLDER, by their pids
#
# With SLURM_CONF=FOLDER/slurm.conf and FOLDER/bin first in PATH, sbatch, squeue, … speak to it.
# Nothing outside FOLDER is touched but Debian's packages, installed if they are missing; a SLURM
# or munge that the machine already runs is left alone. Needs root and Debian. SLURM only counts
# what it gives out: cores, memory and GPUs are not enforced, so that 32 cores can be scheduled on
# two.
set -euo pipefail

# The exit status where this machine cannot run a SLURM.
readonly cannot=3
# of each node
readonly cores=16 memory_mb=130000 gpus=4
readonly command=${1:?start, halt, resume, crash, boot or stop}
readonly folder=$(realpath -m "${2:?a folder}")
# Both nodes are this machine; the first one's name can be looked up, as distributed fits do.
readonly host=$(hostname -s)
readonly nodes=("$host" "$host-second")

running() { [ -s "$folder/$1.pid" ] && kill -0 "$(cat "$folder/$1.pid")" 2>/dev/null; }

# wait_until SECONDS COMMAND…: tries the command until it succeeds
wait_until() {
    local deadline=$((SECONDS + $1)) last
    shift
    until last=$("$@" 2>&1); do
        if [ $SECONDS -ge $deadline ]; then
            printf 'Not in time: %s\n%s\n' "$*" "$last" >&2
            tail -n 15 "$folder"/*.log >&2
            return 1
        fi
        sleep 0.2
    done
}

gone() { ! running "$1"; }

# stop DAEMON [SIGNAL]
stop() {
    running "$1" || return 0
    kill -s "${2:-TERM}" "$(cat "$folder/$1.pid")"
    wait_until 20 gone "$1"
}

# Clusters that start side by side install one after the other.
install_packages() {
    local lock packages="slurmctld slurmd slurm-client munge"
    exec {lock}<"$0"
    flock "$lock"
    if ! dpkg --status $packages 2>/dev/null | grep -c '^Status: .* installed$' | grep -qx 4; then
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } \
            >"$folder/apt.log" 2>&1 || { tail -n 15 "$folder/apt.log" >&2; exit $cannot; }
    fi
    exec {lock}<&-
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

configure() {
    local node index program
    mkdir -p "$folder/state" "$folder/bin"
    chmod 755 "$folder"
    head -c 1024 /dev/urandom >"$folder/munge.key"
    chmod 400 "$folder/munge.key"
    # A Snakemake inside a job removes SLURM_CONF, as all SLURM_ variables, before it calls these.
    for program in sacct sbatch scancel scontrol sinfo squeue srun; do
        printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v $program)" \
            >"$folder/bin/$program"
        chmod +x "$folder/bin/$program"
    done
    # SLURM wants character devices for its GPUs, and sets CUDA_VISIBLE_DEVICES from them.
    for index in $(seq 0 $((gpus - 1))); do
        mknod -m 666 "$folder/gpu$index" c 1 3
    done
    for index in $(seq 0 $((gpus - 1))); do # two of 40 GB and two of 80 GB
        echo "Name=gpu Type=a100_$((40 + index / 2 * 40)) File=$folder/gpu$index"
    done >"$folder/gres.conf"
    cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
MpiDefault=none
SchedulerParameters=sched_interval=3,bf_interval=3,batch_sched_delay=0
KillWait=30
SlurmdTimeout=20
ReturnToService=2
JobRequeue=0
PartitionName=cpu Nodes=ALL Default=YES DefMemPerCPU=500
PartitionName=gpu Nodes=ALL DefMemPerCPU=500
CONF
    for node in "${nodes[@]}"; do
        mkdir -p "$folder/spool-$node"
        cat >>"$folder/slurm.conf" <<CONF
NodeName=$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=$cores CoresPerSocket=$cores RealMemory=$memory_mb Gres=gpu:a100_40:2,gpu:a100_80:2
CONF
    done
}

nodes_are_up() { [ "$(sinfo --noheader --Node --format=%T --partition=cpu | grep -cE '^(idle|mixed|allocated)$')" = 2 ]; }

# A node has a process namespace of its own: when its first process ends, all of them do.
start_node() {
    unshare --pid --fork --kill-child --mount-proc slurmd -D -N "$1" -f "$SLURM_CONF" \
        </dev/null >/dev/null 2>&1 &
    echo $! >"$folder/node-$1.pid"
}

queue_is_empty() { [ -z "$(squeue --noheader)" ]; }

start_controller() {
    slurmctld -f "$SLURM_CONF" </dev/null >/dev/null 2>&1
    wait_until 20 scontrol ping
}

start() {
    local node
    [ "$(id -u)" = 0 ] || { echo "A SLURM can only be started as root." >&2; exit $cannot; }
    [ -e /etc/debian_version ] || { echo "SLURM comes from Debian's packages." >&2; exit $cannot; }
    unshare --pid --fork --mount-proc true || exit $cannot
    mkdir -p "$folder"
    install_packages
    configure
    munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
        --seed-file="$folder/munged.seed" </dev/null >/dev/null 2>&1
    wait_until 10 running munged
    start_controller
    for node in "${nodes[@]}"; do
        start_node "$node"
    done
    wait_until 30 nodes_are_up
}

export SLURM_CONF=$folder/slurm.conf
case $command in
    start) start ;;
    halt) stop slurmctld ;;
    resume) start_controller ;;
    crash) stop "node-${nodes[1]}" KILL ;;
    boot)
        start_node "${nodes[1]}"
        wait_until 60 nodes_are_up
        ;;
    stop)
        left=0
        if running slurmctld; then # jobs would outlive the daemons
            scancel --me && wait_until 45 queue_is_empty || left=1
        fi
        for node in "${nodes[@]}"; do
            stop "node-$node" KILL || left=1
        done
        for daemon in slurmctld munged; do
            stop $daemon || left=1
        done
        exit $left
        ;;
    *)
        echo "start, halt, resume, crash, boot or stop, not $command" >&2
        exit 1
        ;;
esac

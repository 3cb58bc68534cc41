#!/bin/bash
# Snakemake itself as a job, for sites that forbid long processes on login nodes. From the clone:
#
#     sbatch --partition=cpu workflow/profiles/slurm-gpu/head.sh --configfile config/mine.yaml
#
# Two minutes before its time is up it cancels its jobs, whose fits keep their state. The same
# command goes on where it was.
#SBATCH --job-name=hce-head
#SBATCH --cpus-per-task=1
#SBATCH --mem=2000
#SBATCH --time=23:00:00
#SBATCH --signal=B:INT@120
#SBATCH --output=hce-head-%j.log
set -m # otherwise a process in the background ignores INT
cd "$SLURM_SUBMIT_DIR" || exit
.venv/bin/snakemake --profile slurm-gpu "$@" &
snakemake=$!
trap 'kill -INT $snakemake' INT TERM
while kill -0 $snakemake 2>/dev/null; do # a signal ends a wait, and Snakemake then cleans up
    wait $snakemake
    status=$?
done
exit $status

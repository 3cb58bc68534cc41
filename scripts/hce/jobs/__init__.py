"""What surrounds a rule's script: its log, its machine, and SLURM before and after a run."""

"""The command line: all printing, progress and exit codes, and nothing else."""

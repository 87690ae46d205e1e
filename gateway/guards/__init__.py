"""May this call go on? The order of all guards, and nothing else."""

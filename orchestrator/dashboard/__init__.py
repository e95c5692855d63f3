"""What a person watches: it sees ManifestReader and Observer, and nothing else."""

"""What is allowed: YAML → validated documents → an immutable Snapshot of Plans."""

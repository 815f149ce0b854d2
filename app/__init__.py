"""What people touch: the `zeromill` command."""

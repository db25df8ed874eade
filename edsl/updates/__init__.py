"""Base updates, one file each."""

"""What stands behind the base update, one file each."""

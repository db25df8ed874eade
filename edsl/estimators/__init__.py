"""Where a gradient comes from, one file each."""

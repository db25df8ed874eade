"""Runs a step: which way, replayed, stacked, on shards. Imports kernels, groups and what is below them."""

"""Comparisons as a library: tasks, trials, races and their reports."""

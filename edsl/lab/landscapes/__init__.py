"""Walks in the plane. Imports optim and what is below it."""

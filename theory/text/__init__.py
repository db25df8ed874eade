"""Recurrences, LaTeX and figures as text. Imports language; no torch."""

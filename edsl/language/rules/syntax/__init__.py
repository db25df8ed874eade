"""The text of rules: read, checked and printed. Imports errors and domains; no torch."""

"""The language: a text is a pipeline is a text. Imports errors alone; no torch."""

"""Whether two pipelines take the same steps. Imports statements and systems; no torch."""

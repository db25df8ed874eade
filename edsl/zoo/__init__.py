"""The literature's optimizers as text: an entry is a file NAME.edsl, whose rule NAME a spec may name. Imports nothing."""

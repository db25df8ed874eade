"""The literature's optimizers as text: a file NAME.edsl holds the rule NAME, which a spec may name. Imports nothing."""

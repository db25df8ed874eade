"""What a pipeline is otherwise known as. Imports systems and text; no torch."""

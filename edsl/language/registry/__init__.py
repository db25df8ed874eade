"""Which words the language has: stages, recipes, plugins. Imports language and errors; no torch."""

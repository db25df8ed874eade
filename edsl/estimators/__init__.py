"""The stages that give a gradient. Imports language and errors; no torch."""

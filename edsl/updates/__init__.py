"""The stages that turn a gradient into a step. Imports language, numerics and errors; no torch."""

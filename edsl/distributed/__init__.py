"""Tensors that are cut over processes. Imports language, numerics and errors."""

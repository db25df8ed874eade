"""A pipeline as a linear system: state space, polynomials, filter. Imports text and language; no torch."""

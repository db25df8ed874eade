"""Optimizers that step inside backward(). Imports what edsl.optim may."""

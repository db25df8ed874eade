"""State in the CPU's memory for parameters on a GPU. Imports what edsl.engine may."""

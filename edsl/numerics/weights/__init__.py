"""Forms in which weights below float32 keep what their steps compute. Imports what edsl.numerics may."""

"""Parameters that are several matrices: which, and the step of each. Imports what edsl.step may."""

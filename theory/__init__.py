"""The mathematics of a pipeline, read from its stage definitions; never imports torch."""

if __name__ != "edsl.theory":
    raise ImportError("import this package as edsl.theory: a second copy of its classes would clash with the first")

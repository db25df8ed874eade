"""The stages between gradient and base update. Imports language and errors; no torch."""

if __name__ != "edsl.adapters":
    raise ImportError("import this package as edsl.adapters: a second copy of its stages would clash with the first")

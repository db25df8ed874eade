"""What stands between the gradient and the base update: exploration (E), clip, noise, foreign."""

if __name__ != "edsl.adapters":
    raise ImportError("import this package as edsl.adapters: a second copy of its stages would clash with the first")

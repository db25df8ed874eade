"""The command line: one file per command, parsing in main, all output in render."""

if __name__ != "edsl.cli":
    raise ImportError("import this package as edsl.cli")

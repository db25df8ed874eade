"""The `edsl` command, a file a command. Imports everything; typer in main, analysis and options alone."""

if __name__ != "edsl.cli":
    raise ImportError("import this package as edsl.cli")

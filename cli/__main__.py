"""`python -m edsl.cli`: the `edsl` command, as torchrun starts it."""

from edsl.cli.main import main

if __name__ == "__main__":
    main()

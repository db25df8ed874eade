"""The data of one step: plan, segments, parameters. Imports language, distributed and numerics."""

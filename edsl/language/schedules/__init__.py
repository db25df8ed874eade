"""Numbers that follow the step or differ from layer to layer: forms, values, how one is read. Imports errors only."""

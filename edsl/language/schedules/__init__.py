"""Numbers that follow the step: forms, a schedule as a value, how one is read. Imports errors only."""

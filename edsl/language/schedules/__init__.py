"""Numbers that follow the step: forms, a schedule as a value, and how one is read."""

"""The parameters of a group: their names, what is excluded, their routes. Imports step, updates and language."""

"""The stages behind a base update. Imports language and errors; no torch."""

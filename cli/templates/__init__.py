"""Files that `edsl new` writes, as they are but for their names. Imports what its readers import."""

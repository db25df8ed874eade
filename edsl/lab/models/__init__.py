"""Networks that more than one task trains."""

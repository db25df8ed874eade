"""Steps that are looked at and not taken: by watchers, and for lost updates. Imports what edsl.engine may."""

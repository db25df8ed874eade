"""Rules: stages written as their recurrences, in text. Imports errors and the language; no torch."""

"""Compiled steps: built, kept, loaded and launched. Imports codegen and what is below it."""

"""A step as text in C++ and Triton: trace, loops, source. Launches nothing. Imports step and what is below it."""

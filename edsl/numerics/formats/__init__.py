"""Numbers in few bits: blocks of a tensor's elements as codes of 8 or 4 bits, with a scale each. Imports torch only."""

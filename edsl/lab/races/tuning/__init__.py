"""How hyper-parameters are found: the box, what is tried next in it, the ladder of rates. Imports errors, language."""

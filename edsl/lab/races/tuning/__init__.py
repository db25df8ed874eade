"""How hyper-parameters are found: the box, what is tried next in it, and the ladder of learning rates."""

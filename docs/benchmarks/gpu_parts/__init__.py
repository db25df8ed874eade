"""The parts of a GPU run, in the order in which they run, and what share of the time is theirs."""

PARTS = {
    "correctness": 170,
    "speed": 120,
    "profile": 30,
    "matrices": 60,
    "memory": 25,
    "training": 60,
    "memcheck": 25,
}

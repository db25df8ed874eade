"""The parts of a GPU run, in the order in which they run, and what share of the time is theirs."""

PARTS = {
    "correctness": 170,
    "speed": 130,
    "profile": 15,
    "matrices": 60,
    "memory": 25,
    "training": 60,
    "counters": 25,
    "memcheck": 25,
}

"""Regular upkeep: the jobs, each a task of its own, and the order in which a fleet gets them."""

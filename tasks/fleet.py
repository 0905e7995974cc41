"""Open a fleet: an inventory folder, checked, as a Nornir object whose tasks share one run."""

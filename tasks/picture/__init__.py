"""A drawing of the fleet, from its inventory and, where hosts were read, their actual state."""

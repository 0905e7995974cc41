"""How the fleet is right now: every LXD host read once, held against the inventory."""

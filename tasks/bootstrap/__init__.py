"""From nothing to SSH."""

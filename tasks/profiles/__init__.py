"""LXD profiles on an LXD host, as the inventory declares them by name."""

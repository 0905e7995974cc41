"""Containers on an LXD host: created, started and mended as the inventory declares them."""

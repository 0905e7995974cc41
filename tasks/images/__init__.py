"""Images on an LXD host, under the aliases by which containers name them."""

"""LXD's own API over HTTPS, the server's certificate pinned: Nornir's connection `lxd`."""

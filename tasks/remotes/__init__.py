"""Remotes crosswise: every LXD host knows and trusts every LXD host, itself included."""

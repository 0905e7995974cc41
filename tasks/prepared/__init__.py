"""Images that are bootstrapped once for many containers."""

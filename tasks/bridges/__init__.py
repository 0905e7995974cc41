"""Bridges: every NIC and vlan of an LXD host in a bridge, through netplan."""

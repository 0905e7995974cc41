"""A shell on a machine: one SSH connection a run over netmiko, its host key verified."""

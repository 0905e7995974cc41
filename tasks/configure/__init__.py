"""The configuration of any machine over SSH."""

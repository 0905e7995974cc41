"""Certificates: how many days they have left, and new ones for those that are ours."""

"""The one read of a machine: what its script printed, as typed values."""

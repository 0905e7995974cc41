"""The wanted state of a fleet, from an inventory folder: typed, merged, derived."""

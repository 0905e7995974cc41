"""The tests, those on real LXD hosts included."""

"""Changes of a machine by shell functions: files, paths, and the script that makes them."""

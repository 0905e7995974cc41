"""LXD itself on a host: installed, listening, trusting the controller, with its pools."""

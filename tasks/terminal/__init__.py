"""What a person sees: tables, lines, live progress."""

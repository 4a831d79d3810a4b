"""Training of vocoders: one linear loop, its settings, its files."""

"""Used by all other packages: files, memory, threads, validation, settings, run records."""

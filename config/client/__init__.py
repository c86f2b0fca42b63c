"""Bob configurations: objects built from the package, no logic."""

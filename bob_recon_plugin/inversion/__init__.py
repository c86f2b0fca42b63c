"""From stolen templates to faces."""

"""From score files to rates, intervals and findings."""

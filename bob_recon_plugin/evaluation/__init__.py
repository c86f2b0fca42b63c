"""From score files to rates, intervals and all other numbers of a report."""

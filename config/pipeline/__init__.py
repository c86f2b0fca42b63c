"""Bob configurations. They build objects of the package and contain no logic."""

"""Files that ship with the package: the demo decoder and the demo faces."""

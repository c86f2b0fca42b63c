"""Prepared faces, and where they come from."""

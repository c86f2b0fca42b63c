"""Inputs of kinds that people report."""

"""Figures and galleries: draws numbers, computes none."""

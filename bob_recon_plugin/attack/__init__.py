"""The attack inside Bob."""

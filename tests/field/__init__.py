"""Cases that users meet in the field."""

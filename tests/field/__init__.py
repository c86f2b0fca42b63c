"""Cases that users of face recognition systems meet."""

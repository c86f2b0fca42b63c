"""Images: eye positions, crops, annotations, reading."""

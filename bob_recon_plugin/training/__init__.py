"""What the shipped files were made with: the demo faces and the demo decoder."""

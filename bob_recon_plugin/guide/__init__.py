"""The pages of the documentation, in Markdown."""

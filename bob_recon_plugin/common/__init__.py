"""What every room needs: files, memory, threads, messages, settings, records."""

"""Programs that measure: what decoders open, how fast training runs, how a report scales."""

"""Train decoders: prepare or synthesize faces, train on them; and the demo's faces."""

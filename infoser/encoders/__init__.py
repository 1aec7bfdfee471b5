"""Frozen encoders of recordings and transcripts: an optional extra, run offline before training."""

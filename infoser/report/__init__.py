"""What a reader sees of an experiment."""

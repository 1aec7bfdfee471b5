"""Generated rows of a run folder, written for other tools."""

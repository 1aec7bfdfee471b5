"""Flax Linen modules: the aligner, the generator, the discriminator with Q, and the classifier head."""

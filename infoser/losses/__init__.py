"""Losses as pure functions: one equation each, per example, reduced by the caller."""

"""Metrics of classification, their intervals, and the score rows made of them."""

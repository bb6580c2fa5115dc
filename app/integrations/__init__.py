"""The outside world behind small functions."""

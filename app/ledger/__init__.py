"""The heart: claim, settle, release, rescue, promote, and the one dialect module."""

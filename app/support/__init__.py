"""Helpers without knowledge of jobs."""

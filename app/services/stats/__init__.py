"""Figures for pages, JSON and Prometheus."""

"""Alerts: checks, rules, incidents, texts and delivery."""

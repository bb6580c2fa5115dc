"""Accounts, passwords and sign-in."""

"""Reports of a period: its figures, how they are drawn and sent."""

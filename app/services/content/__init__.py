"""Contents, generated articles and what they cost."""

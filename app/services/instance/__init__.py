"""One instance: backup, restore, schema, retention."""

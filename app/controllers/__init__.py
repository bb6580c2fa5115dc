"""Blueprints: a route parses the request, calls a service and renders. No SQL and no business rule is here."""

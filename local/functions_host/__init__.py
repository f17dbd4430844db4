"""Runs `function_app.py` where Azure Functions Core Tools (`func`) are missing.

It does what the Functions host and the official Python worker do together for HTTP triggers: settings,
indexing, routes, keys, conversion of requests and responses, timeouts. Functions with another trigger are
indexed and listed, but not run. It is for one developer's machine: loopback only, never deployed.
"""

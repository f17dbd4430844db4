"""Runs `function_app.py` where Azure Functions Core Tools (`func`) are missing.

It does what the Functions host and the official Python worker do together for HTTP, storage queue and timer
triggers: settings, indexing, routes, keys, conversion of requests and responses, leases of messages, poison queues,
schedules, timeouts. Functions with another trigger are indexed and listed, but not run. It is for one developer's
machine: loopback only, never deployed.
"""

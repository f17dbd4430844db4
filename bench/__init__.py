"""Measurements, run by hand; what they gave is in docs/benchmarks.md."""

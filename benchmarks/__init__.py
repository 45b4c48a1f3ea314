"""Measurements: each script prints a table for the docs."""

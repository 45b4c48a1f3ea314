"""The layer as modules."""

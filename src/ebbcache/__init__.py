"""Caches that need no size: they grow into free memory and ebb when something else wants it."""

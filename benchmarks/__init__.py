"""Measurements of whole commands, and of the parts that decide how fast they are."""

"""Servers that behave like the destinations' own, over real HTTP on this machine."""

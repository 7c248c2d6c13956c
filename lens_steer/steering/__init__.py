"""Steering: what all methods share, and one leaf per method."""

"""Runnable analyses: choose a model and data, call lens_steer, save a figure with its data."""

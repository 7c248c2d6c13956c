"""The error of a model that lens_steer does not take."""


class ModelRefused(ValueError):
    """A model that would give wrong numbers, or cannot be loaded; the message says what to do."""

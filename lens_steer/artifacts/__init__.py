"""Saving and loading of fitted objects, as safetensors files that say where they come from."""

from lens_steer.artifacts.registry import savable as savable
from lens_steer.artifacts.storage import describe as describe
from lens_steer.artifacts.storage import load as load
from lens_steer.artifacts.storage import save as save

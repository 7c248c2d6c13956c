"""Whether the files of a checkpoint hold every weight of its model."""

from typing import Any

from lens_steer.models.refused import ModelRefused


def check_complete(name: str) -> None:
    """Check that no weight is missing, which Hugging Face would draw at random and go on.

    Only the headers of the files are read, in about 0.1 s.

    Args:
        name: A local directory or a hub name.

    Raises:
        ModelRefused: If a weight of the model is in none of the files, or has another shape there.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    try:
        kind = type(AutoConfig.from_pretrained(name))
    except OSError:  # an alias of TransformerLens', or no model at all: its loader says so
        return
    classes: list[Any] = [AutoModelForCausalLM, AutoModelForImageTextToText]
    load = next((each for each in classes if kind in each._model_mapping), classes[0])
    how = {"device_map": "meta", "output_loading_info": True, "ignore_mismatched_sizes": True}
    _, report = load.from_pretrained(name, **how)
    faults = [
        *(f"{key} is missing" for key in sorted(report["missing_keys"])),
        *(f"{key} has another shape" for key, *_ in sorted(report["mismatched_keys"])),
    ]
    if faults:
        raise ModelRefused(
            f"cannot load {name!r}: its files do not hold {len(faults)} of the model's weights "
            f"({faults[0]}), which would be random numbers: download it again, or check its "
            "config.json"
        )

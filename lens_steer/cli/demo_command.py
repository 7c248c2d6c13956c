"""`lens-steer demo`."""

from pathlib import Path

import typer

from lens_steer.cli.options import (
    Backend,
    Columns,
    Device,
    DevPrompts,
    Length,
    Methods,
    Minutes,
    Model,
    Out,
    Pairs,
    Read,
    Seed,
    Sink,
    SomeLayers,
    Table,
    Temperature,
    TemplateName,
    Where,
    Words,
)
from lens_steer.cli.typed_options import check_pairs


def demo(  # noqa: PLR0913 - options of a command
    model: Model = "organism",
    pairs: Pairs = None,
    columns: Columns = None,
    template: TemplateName = None,
    out: Out = Path("out/demo"),
    seed: Seed = 0,
    methods: Methods = None,
    words: Words = None,
    read: Read = None,
    scope: Where = "last",
    sink: Sink = False,
    backend: Backend = "bridge",
    device: Device = None,
    max_new_tokens: Length = None,
    temperature: Temperature = 0.7,
    dev_prompts: DevPrompts = 48,
    minutes: Minutes = None,
    layers: SomeLayers = None,
    table: Table = True,
) -> None:
    """Read a model, choose CAA's layer and strength, steer, and report what that does.

    Pairs are split by group into three parts: CAA is fitted on train, its layer and strength are
    chosen on dev, and all that is reported is measured on test. Layers are screened first without
    a word being generated: by how much likelier each makes the desired texts of dev, all at one
    cost. The best of them write texts at several costs. Then come the tokens that are steered,
    unsteered beside steered texts, and several methods at one cost beside what they have to beat
    (see compare), calibrated on dev to 0.1 nats per token; the organism's are in the package.

    How many texts, tokens and minutes that takes is said first, from the first batches; --minutes
    bounds them. Every result is said and written as soon as it is there. A demo that was stopped
    goes on when it is started again with the same options; others in its folder are refused.

    Files in OUT: separability.png (how far apart the classes are, by layer), screen.png, sweep.png
    (behaviour and perplexity against nats paid, beside a random direction) and frontier.png (all
    methods), each with its numbers as .csv and their origin as .json; report.html (all of it on
    one page); choice.csv, texts.csv, table.csv; demo.json (the plan), table.jsonl (every trial with
    its texts), and for lens_steer.load method.safetensors, the other methods and what each stage
    found.
    """
    from lens_steer.benchmark import defaults_of
    from lens_steer.cli.demo_run import run
    from lens_steer.cli.demo_settings import DemoSettings

    defaults = defaults_of(model)
    chosen = pairs or defaults.pairs
    check_pairs((chosen,), columns, template)
    settings = DemoSettings(
        model=model,
        pairs=chosen,
        columns=columns,
        template=template,
        out=out,
        seed=seed,
        methods=methods or defaults.methods,
        words=words or (),
        read=read or defaults.read,
        scope=scope,
        sink=sink,
        backend=backend,
        device=device,
        max_new_tokens=max_new_tokens or defaults.max_new_tokens,
        temperature=temperature,
        dev_prompts=dev_prompts,
        minutes=minutes or defaults.minutes,
        limited=minutes is not None,
        layers=layers,
        table=table,
    )
    run(settings, typer.echo)

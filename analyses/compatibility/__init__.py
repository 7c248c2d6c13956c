"""Which architectures does lens_steer read and steer rightly, in the versions installed here?

Makes a tiny model of each of some 80 architectures of transformers with random weights and loads
it as each backend that is installed, in each of three dtypes. Of every such cell it checks that

    loads      load_model takes it, or says why not
    logits     are those of Hugging Face's own model
    cached     logits over a key-value cache are those without one
    batched    a row's logits in a batch are those by itself
    padded     left-padded rows have the logits of right-padded ones
    reads      the residual stream is what Hugging Face's blocks put out
    caa        steering does what a hook on Hugging Face's block does, over a cache and without;
               strength 0 and the end of the block leave logits equal to the bit
    heads      head outputs are what a matrix in Hugging Face's block is multiplied with
    jacobians  are those of autograd through Hugging Face's block

Every cell runs in a process of its own with a time limit: a crash is a result. What it costs is
said first. Results are written cell by cell, as JSON in --out, one file for each environment; a
run that was stopped goes on, and cells are measured again once the code has changed. With --table
nothing is measured: compatibility.md is written from all files in --out.

    OMP_NUM_THREADS=1 python -m analyses.compatibility --out analyses/results/compatibility --seed 0
    python -m analyses.compatibility --out analyses/results/compatibility --table docs

The files: `architectures` and `tiny_models` make the models, `plain_models` runs them without
TransformerLens, `checks` compares, `cells` runs checks in processes, `results` keeps them, `page`
writes the table.
"""

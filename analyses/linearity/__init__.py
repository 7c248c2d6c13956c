"""Are layers locally linear, how far, and does it matter? The questions behind A-LQR, by layer.

For every behaviour: the error of the linear prediction against the radius of the step (with the
text's own Jacobian, the mean one, the identity and another layer's), predicted against true change
of the logits, and persistence of the feature from layer to layer; and whether any of these radii
predicts the dose at which texts collapse. Jacobians and features come from train, diagnostics from
test, collapse from dev. Then the paper's spectra and subspaces: of texts alike, of mixed texts, and
of texts with their words in disorder.

Writes layers and ranks (tables), collapse, alignment and spectra (figures with their data) for all
behaviours, and error, persistence and logits for each behaviour. The six behaviours of the embedded
model take about half an hour of processor time.

    python -m analyses.linearity --out out/linearity
    python -m analyses.linearity --model ../shared/models/stories260k --pairs stories:sad

The files: `measures` diagnoses one behaviour, `collapse` relates radii to the collapse of texts,
`text_sets` gathers the texts whose spectra are compared.
"""

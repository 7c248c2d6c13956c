"""The embedded model: what it does, what CAA makes of it, and where its latents are.

Measured on held-out prompts, split by entity and wording; layer, size and read position are chosen
on dev. Writes unsteered, steering and candidates (tables), and doses, layers, heads and degrees
(figures with their data). With --card, the tables of a model card are brought up to date, and the
figures are copied to the folder `figures` beside it. It takes a quarter of an hour on one core.

    python -m analyses.organism --out out/organism
    python -m analyses.organism --model out/seed1/weights --out out/seed1/card

The files: `tasks` says what is asked of a method, `steering` steers, `probes` looks for latents,
`figures` draws, `card` writes the card.
"""

"""What do the three papers claim, and what was measured here? Tables of results in, one page out.

Reads the tables in analyses/results and writes claims.md: a verdict for each claim on the
embedded model, on each of two public models, and on both of these; then what was measured for it,
what is known of the reason, and the commands that make the tables. Prints how many claims have each
verdict. It takes a few seconds.

    python -m analyses.claims --out docs
    python -m analyses.claims --results out --out out/claims

The files: `evidence` has the verdicts and the rules that most claims share, `rules` those of single
claims on the embedded model, `public` those on public models; `paper_claims` and `alqr_claims` have
the claims; `pages` writes.
"""

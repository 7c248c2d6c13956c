"""What do the three papers claim, and what was measured here? Tables of results in, one page out.

Reads the tables in analyses/results and writes claims.md: a row for each claim with what the tables
say, on how many models, a verdict, and the command that makes the table. Prints how many claims
have each verdict. It takes a few seconds.

    python -m analyses.claims --out docs
    python -m analyses.claims --results out --out out/claims

The files: `evidence` has the verdicts and the rules that most claims share, `rules` those of single
claims, `paper_claims` the claims.
"""

"""The papers' claims beside what was measured here: tables of results in, one page out."""

"""Where do the nats go? What each method pays beyond the least, on the embedded model, in parts.

A judge says of every text whether it shows a behaviour. For prompt i, p_i is the share of the
model's texts that do, r_i that of a method's, and K_i the KL of the method's whole texts from the
model's, in nats. No way of writing texts lifts the mean share to r for less than

    floor F(r): the mean of kl(s_i || p_i), where logit s_i = logit p_i + lambda and mean s_i = r

(kl of two yes-or-no variables), and the model conditioned on the judge, with one multiplier lambda
for all prompts, pays exactly that. With K the mean of K_i, a method's excess is K - F(r). It is
parted in two ways, each of which adds up to it; no nat is counted twice within one.

Where (exact, but for the noise of sampling), by the chain rule
K_i = kl(r_i || p_i) + r_i KL(q(.|yes) || p(.|yes)) + (1 - r_i) KL(q(.|no) || p(.|no)):

    allocation    mean kl(r_i || p_i) - F(r): log-odds moved by other amounts in different prompts
    broken        of K less mean kl(r_i || p_i), what texts add that break the grammar:
                  E_q[log q/p (text) - log q/p (judge's bit)] over those texts
    well formed   the same over all other texts; it may be negative, as theirs are fewer than before

`first_token` is the share of K that is paid at the first token.

Why (first order, but the sum is exact). Near strength s = 0 a method has a gain g_i = dr_i/ds =
Cov(judge, score), its score being d log q(text) / ds, and a curvature c_i = Var(score), by which
K_i = c_i s^2 / 2. With v = mean p_i (1 - p_i) its efficiency, the least over what is paid, is

    e  = (mean g_i)^2 / (v mean c_i)     at one strength for all prompts
    e' = mean(g_i^2 / c_i) / v           at each prompt's best strength, which goes as g_i / c_i

and e <= e' <= 1. The best vector is that whose e is largest: the regression of the judge on the
gradients of log p(text) by a vector at one layer (the natural gradient), fitted to training
prompts, at the layer that says most of texts left out; e* is its e'. Then

    off target        F (1 / e* - 1)       the best vector pays it too for the same gain
    wrong direction   F (1 / e' - 1 / e*)  negative for a method that beats that vector
    same push         F (1 / e - 1 / e')   what strengths of their own for the prompts would save
    nonlinearity      K - F / e            negative where a method is better than at small s

F = F(r) is the gain in the unit of nats that it is worth: near 0 it goes with the square of the
strength as K does, so that F / e is what the derivatives promise for the gain that was had, and
where efficiency does not change with strength, nonlinearity is 0. A method whose gain at small s
may be 0 (the 95 % interval of e or e' holds 0) cannot be parted so. A push that is the same for all
prompts moves all log-odds alike if it does nothing else, which is the optimum: it wastes nats only
where c_i and g_i do not go together. Words in the prompt have no strength, and are parted by place
alone. The model conditioned on the judge has nothing in any part.

Shares are (k + 1/2) / (n + 1), kl(r_i || p_i) is freed of the bias of counting, nats are sums of
next-token divergences along the method's own texts, derivatives are read off unsteered texts at a
strength of 1e-4 nats per token. Temperature is 1, the model's own distribution, and texts have at
most 64 tokens; one that is cut off counts as broken. Of six settings of each method the one is
taken that at 0.1 nats per token moves dev's preference between the pairs' sides most; all are
calibrated on dev. Intervals are 95 %, groups of test prompts being drawn again; the best vector,
and what was chosen, are taken as they are.

Writes parts (a row per behaviour, method and cost), layers (best vectors and methods at small
strengths), means (over behaviours; a figure with its data) and units.jsonl, a journal: the same
command goes on with a run that was stopped. It takes three to four minutes of processor time for
each behaviour.

    python -m analyses.where_nats_go --out out/where_nats_go
    python -m analyses.where_nats_go --pairs organism:sentiment --prompts 32 --texts 64

The files: `parts` is the mathematics, `estimates` goes from texts to its numbers, `texts` writes
and reads texts, `vectors` finds best vectors and `small_strengths` where derivatives are taken,
`measuring` has the units, `tables` and `figures` show them.
"""

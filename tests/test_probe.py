def test_a(model, pairs):
    import torch
    t = model.to_tokens("The cat was very sad.\n")
    print(t, model.cfg.n_ctx, model.cfg.d_mlp, model.cfg.d_head)
    l = model(t)
    print(l.std(), l.softmax(-1).max(-1).values)
def test_b(stories): pass

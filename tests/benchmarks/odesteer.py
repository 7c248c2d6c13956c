"""Flows along barriers, against the published route: a count-sketch and FFTs in every step."""

import time
from collections.abc import Callable
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import lens_steer as ls
from lens_steer.barriers import PolynomialBarrier
from lens_steer.steering import ODESteer
from tests.benchmarks.timing import interleaved, ratio

COMPONENTS, STEPS, LENGTH, GAMMA, COEF0 = 8000, 10, 5.0, 0.1, 1.0


class SketchedField:
    """grad h / |grad h| of h = w . phi(a / |a|), phi a count-sketch of degree 2, by FFT."""

    def __init__(self, d: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        shape = (2, d + 1)  # a constant beside the activation
        self.bins = torch.randint(COMPONENTS, shape, generator=draw)
        self.signs = 2.0 * torch.randint(2, shape, generator=draw) - 1
        self.weights = torch.randn(COMPONENTS, generator=draw)

    def features(self, x: Tensor) -> Tensor:
        """phi of unit rows."""
        first, second = self._transforms(x)
        return torch.fft.irfft(first * second, n=COMPONENTS)

    def __call__(self, a: Tensor) -> Tensor:
        """The unit field."""
        size = a.norm(dim=-1, keepdim=True)
        x = a / size
        transforms, head = self._transforms(x), torch.fft.rfft(self.weights)
        pull = torch.zeros_like(x)
        for i in range(2):
            back = torch.fft.irfft(transforms[1 - i].conj() * head, n=COMPONENTS)
            pull = pull + GAMMA**0.5 * (self.signs[i] * back[:, self.bins[i]])[:, :-1]
        g = (pull - x * (x * pull).sum(dim=-1, keepdim=True)) / size
        return g / g.norm(dim=-1, keepdim=True)

    def barrier(self, d: int) -> PolynomialBarrier:
        """The same h as a quadratic form: z' M z with M_ij = s_i t_j w[bin_i + bin_j]."""
        rows, columns = self.bins[0][:, None], self.bins[1]
        m = torch.outer(*self.signs) * self.weights[(rows + columns) % COMPONENTS]
        m = (m + m.T).double() / 2
        return PolynomialBarrier.of_quadratic(GAMMA * m[:d, :d], (GAMMA * COEF0) ** 0.5 * m[:d, d])

    def _transforms(self, x: Tensor) -> list[Tensor]:
        z = torch.cat([GAMMA**0.5 * x, x.new_full((len(x), 1), COEF0**0.5)], dim=1)
        counts = x.new_zeros(len(x), COMPONENTS)
        pairs = zip(self.bins, self.signs, strict=True)
        return [torch.fft.rfft(counts.index_add(1, b, s * z)) for b, s in pairs]


def flow_speed(runs: int) -> str:
    """Ten Euler steps in float32: FFTs in every step, against the eigenvectors of the same h."""
    found = []
    for d, batch in ((256, 1024), (1024, 32)):
        field = SketchedField(d, seed=0)
        x = torch.randn(batch, d, generator=torch.Generator().manual_seed(1))
        barrier = field.barrier(d).to(dtype=torch.float32)
        ours = steering(ODESteer.from_length(barrier, T=LENGTH, steps=STEPS), x)
        default = steering(ODESteer(barrier, length=LENGTH, steps=STEPS), x)

        def published(x: Tensor = x, field: SketchedField = field) -> Tensor:
            for _ in range(STEPS):
                x = x + LENGTH / STEPS * field(x)
            return x

        gap = float((ours() - published()).norm(dim=-1).max() / LENGTH)
        clock = time.process_time
        slow, fast, geodesic = interleaved(max(1, runs // 5), published, ours, default, clock=clock)
        found.append(
            f"d {d}, {batch} rows: FFT / ours {ratio(slow, fast):.0f}, geodesic midpoint "
            f"{ratio(slow, geodesic):.0f} (ends differ by {gap:.0e} of the way)"
        )
    return "CPU, " + "; ".join(found)


def steering(method: ODESteer, x: Tensor) -> Callable[[], Tensor]:
    """What a hook does with the rows, its coordinates made once."""
    (site,) = method.sites
    move = method._map(site, x.device, x.dtype)  # pyright: ignore[reportPrivateUsage]
    return lambda: move(x)


def fit_speed(runs: int) -> str:
    """3000 activations of 1024 dimensions: the exact kernel, against features and a head."""
    n, d = 3000, 1024
    draw = torch.Generator().manual_seed(0)
    common, shift = torch.randn(2, d, generator=draw)
    x = torch.randn(n, d, generator=draw) + common
    x[: n // 2] += 0.2 * shift
    acts = ls.LayerActivations.from_tensors(x[: n // 2], x[n // 2 :])
    sketch = SketchedField(d, seed=0)
    labels = (torch.arange(n) < n // 2).numpy()

    def published() -> object:
        features = sketch.features(x / x.norm(dim=-1, keepdim=True)).numpy()
        return LogisticRegression(max_iter=1000).fit(features, labels)

    def ours() -> PolynomialBarrier:
        return PolynomialBarrier.fit(acts, gamma=GAMMA, C=1.0)

    slow, taken = interleaved(max(1, runs // 5), published, ours, clock=time.process_time)
    return f"CPU of exact kernel / sketch and head {ratio(taken, slow):.2f}"


def flow_generation_speed(model: Any, runs: int) -> str:
    """Generation along the flow at one layer, ten steps, against unsteered."""
    draw, d = torch.Generator().manual_seed(0), model.cfg.d_model
    sides = torch.randn(2, 200, d, generator=draw)
    sides[0] += 0.2
    barrier = PolynomialBarrier.fit(
        ls.LayerActivations.from_tensors(*sides, layer=3), gamma=GAMMA, C=1.0
    )
    size = float(sides.norm(dim=-1).mean())
    methods = [ODESteer(barrier, 3, angle=0.2), ODESteer.from_length(barrier, 3, T=0.2 * size)]
    prompts = ["the cat sat on the mat", "a dog"]

    def by(*methods: ls.Intervention) -> Callable[[], object]:
        return lambda: ls.generate(model, prompts, *methods, max_new_tokens=32, temperature=0.0)

    actions = (by(), by(methods[0]), by(methods[1]), by())
    first, default, euler, second = interleaved(runs, *actions, clock=time.process_time)
    found = f"flow / unsteered {ratio(default, first):.3f}, Euler {ratio(euler, first):.3f}"
    return f"CPU of {found} (unsteered / unsteered {ratio(second, first):.3f})"

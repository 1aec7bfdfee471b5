"""Sides of the step benchmark: infoser's InfoGAN step, alone and in a group, and its PyTorch twin, on the same data."""

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_twin
from torch_twin import Sizes

from infoser import lifting, parallel
from infoser.compilation_cache import with_fewer_copies
from infoser.config import GenerateConfig, numbers
from infoser.fold_view import Features, FoldView
from infoser.stages.generate import Generate, GenerateRun

ROWS = 4290  # labelled training rows of a fold of IEMOCAP
SIZES = (Sizes(47, 64, 64, 128), Sizes(47, 64, 128, 256), Sizes(1024, 768, 64, 512), Sizes(1024, 768, 256, 1024))
#: The game that the twin in PyTorch plays too: hinge, with a step of G after each of D.
SETTINGS = GenerateConfig(loss="hinge", critic_steps=1, pack=1, steps=2000)
NUMBERS: Mapping[str, float] = numbers(SETTINGS)


clock: Callable[[], float] = time.perf_counter  # what rates are measured by; of the processor's time on one core


@dataclass(frozen=True)
class Side:
    """Something that takes steps: `take(n)` returns when n steps are done; `runs` train at a time."""

    name: str
    take: Callable[[int], None]
    runs: int = 1


class PassesApart(Generate):
    """JAX differentiates D's scores of real and of generated rows and R1 apart: without `infoser.models.input_gradients`."""

    @property
    def _judges_together(self) -> bool:
        return False


def tables(sizes: Sizes, rows: int = ROWS) -> dict[str, np.ndarray]:
    """Random standardised features of labelled rows, sorted by class."""
    rng = np.random.default_rng(0)
    audio, text = (rng.standard_normal((rows, dim), np.float32) for dim in (sizes.audio, sizes.text))
    return {"audio": audio, "text": text, "label": np.sort(rng.integers(0, sizes.classes, rows)).astype(np.int32)}


def _inputs(sizes: Sizes, runs: int, rows: int = ROWS, kind: type[Generate] = Generate) -> tuple[Generate, Features, Any, Any]:
    data = tables(sizes, rows)
    view = FoldView.build(
        np.arange(rows), data["label"], n_classes=sizes.classes, audio=data["audio"], text=None, rows_padded=rows,
        labelled_padded=rows,
    )  # fmt: skip
    run = GenerateRun(view, np.int32(0), {name: np.float32(value) for name, value in NUMBERS.items()})  # type: ignore
    stage = kind(
        n_classes=sizes.classes, text="own", width=sizes.width, latent_dim=sizes.latent, batch_size=sizes.batch,
        steps=2**30,
    )  # fmt: skip
    features = Features(data["audio"][None], None, data["text"][None])  # type: ignore
    stacked = jax.tree.map(lambda leaf: np.stack([leaf] * runs), run)
    return stage, features, stacked, parallel.run_keys(range(runs), ["fold"] * runs)


def chunked(sizes: Sizes, rows: int = ROWS, kind: type[Generate] = Generate) -> tuple[Side, Any]:
    """One run on one device, a chunk of steps in a compiled call; and the cost that XLA counts for a step."""
    stage, shared, runs, keys = _inputs(sizes, 1, rows, kind)
    shared, runs = jax.device_put((shared, runs))
    held = [jax.jit(lifting.lifted(stage, "init", ()))(shared, runs, keys), 0]
    compiled: dict[int, Any] = {}

    def take(n: int) -> None:
        if n not in compiled:
            compiled[n] = with_fewer_copies(jax.jit(lifting.lifted(stage, "chunk", (n,)), donate_argnums=0))
        state, means, _ = compiled[n](held[0], shared, runs, keys, jnp.int32(held[1]))
        jax.block_until_ready(means)
        held[:] = [state, held[1] + n]

    one = jax.tree.map(lambda leaf: leaf[0], (held[0], runs))
    key = jax.random.key(0)
    cost: Any = jax.jit(stage.train_step).lower(one[0], shared, one[1], key, jnp.float32(0)).compile().cost_analysis()
    return Side("infoser, chunk" if kind is Generate else "infoser, D's passes apart", take), cost


def per_step(sizes: Sizes) -> Side:
    """One run on one device, one compiled call for each step."""
    stage, shared, runs, keys = _inputs(sizes, 1)
    shared, run = jax.device_put((shared, jax.tree.map(lambda leaf: leaf[0], runs)))
    key = jax.random.wrap_key_data(keys[0])
    init, step = jax.jit(stage.init), jax.jit(stage.train_step, donate_argnums=0)
    held = [init(shared, run, key), 0]
    fold = jax.jit(jax.random.fold_in)

    def take(n: int) -> None:
        terms = None
        for _ in range(n):
            held[0], terms = step(held[0], shared, run, fold(key, held[1]), jnp.float32(0))
            held[1] += 1
        jax.block_until_ready(terms)

    return Side("infoser, a call a step", take)


def grouped(sizes: Sizes, runs: int) -> Side:
    """As train.py does it: runs spread over all devices."""
    stage, features, stacked, keys = _inputs(sizes, runs)
    mode = parallel.RunsMode()
    shared, spread, keys = mode.replicate(features), mode.spread(stacked), mode.spread(keys)
    held = [mode.init_runs(stage, shared, spread, keys), 0]

    def take(n: int) -> None:
        held[0], means, _ = mode.train_chunk(stage, n, held[0], shared, spread, keys, held[1])
        jax.block_until_ready(means)
        held[1] += n

    return Side(f"infoser, group of {runs}", take, runs)


def twin(sizes: Sizes, *, compiled: bool, threads: int, device: str, optimizer: str = "fused") -> Side:
    """PyTorch, a loop over steps."""
    torch.manual_seed(0)
    one = torch_twin.Twin(sizes, NUMBERS, tables(sizes), device=device, compiled=compiled, optimizer=optimizer)

    def take(n: int) -> None:
        torch.set_num_threads(threads)
        for _ in range(n):
            one.step()
        if device == "cuda":
            torch.cuda.synchronize()

    name = "torch.compile" if compiled else "PyTorch eager"
    return Side(f"{name}, {threads} threads" if device == "cpu" else name, take)


def products(sizes: Sizes) -> dict[str, list[tuple[int, int, int]]]:
    """The matrix products of a step, by hand: (rows, a, b) of each layer that rows are sent through forward, and of those whose
    gradients are taken towards the layer's input and towards its weights (D's own step: `infoser.models.input_gradients`)."""
    width, condition, batch = sizes.width, sizes.classes + sizes.text, sizes.batch
    generator = [(sizes.latent + condition, width), (width, width), (width, sizes.audio)]
    into, hidden, score = (sizes.audio, width), (width, width), (width, 1)
    heads = (width, sizes.classes + 2 * sizes.text)
    both = {"forward": [into, hidden], "inputs": [hidden], "weights": [into, hidden]}  # real and generated rows together
    of_d = {
        "forward": [*generator, (condition, width), (condition, width), into, hidden],  # the last two: from R1's gradient
        "inputs": [into],  # R1's gradient
        "weights": [(condition, width), (condition, width)],
    }
    of_g = {
        "forward": [*generator, into, hidden, (condition, width), score, into, heads],  # G, D and Q
        "inputs": [hidden, into, score, into, heads, *generator[1:]],  # D's towards its input alone
        "weights": [into, heads, *generator],
    }
    return {
        name: [(2 * batch, *layer) for layer in both[name]] + [(batch, *layer) for layer in of_d[name] + of_g[name]]
        for name in both
    }


def flops(sizes: Sizes) -> int:
    """Floating-point operations of a step's matrix products; one of (rows, a) and (a, b) takes 2·rows·a·b either way."""
    return 2 * sum(rows * a * b for layers in products(sizes).values() for rows, a, b in layers)


def products_alone(sizes: Sizes) -> Side:
    """All products of a step and nothing else, compiled as a step is: what the compiler's products leave to be had."""
    rng = np.random.default_rng(0)
    equations = {"forward": "ra,ab->rb", "inputs": "rb,ab->ra", "weights": "ra,rb->ab"}
    factors, written = [], []
    for name, layers in products(sizes).items():
        for rows, a, b in layers:
            dims = {"r": rows, "a": a, "b": b}
            left, right = equations[name].split("->")[0].split(",")
            shapes = [[dims[one] for one in side] for side in (left, right)]
            factors.append([jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes])
            written.append(equations[name])

    def body(_: Any, carry: Any) -> Any:
        lefts, _ = carry
        done = [jnp.einsum(equation, left, right) for equation, left, (_, right) in zip(written, lefts, factors, strict=True)]
        # Each turn's products depend on the turn before, so that none is taken out of the loop.
        return [left.at[0, 0].set(1e-3 * one[0, 0]) for left, one in zip(lefts, done, strict=True)], done

    lefts = [left for left, _ in factors]
    shapes = [jax.eval_shape(lambda a, b, e=e: jnp.einsum(e, a, b), *pair) for e, pair in zip(written, factors, strict=True)]
    zeros = [jnp.zeros(one.shape, one.dtype) for one in shapes]
    run = with_fewer_copies(jax.jit(lambda n: jax.lax.fori_loop(0, n, body, (lefts, zeros))[1]))
    return Side("infoser, products alone", lambda n: jax.block_until_ready(run(n)))


def least_bytes(sizes: Sizes) -> int:
    """Bytes that a step can't help moving where nothing stays in a cache: each parameter, its moments and average."""
    width, condition = sizes.width, sizes.classes + sizes.text
    generator = (sizes.latent + condition + width + sizes.audio) * width
    others = (2 * sizes.audio + condition + width + sizes.classes + 2 * sizes.text) * width
    return 4 * (2 * 3 * (generator + others) + 2 * generator)


@functools.cache
def matrix_rate() -> Callable[[], float]:
    """A function that measures the FLOP/s of a 2048² product in float32, by the faster of both libraries."""
    square = jnp.ones((2048, 2048), jnp.float32)
    multiply = jax.jit(lambda a: a @ a)
    multiply(square).block_until_ready()
    other = torch.ones(2048, 2048, device="cuda" if torch.cuda.is_available() else "cpu")
    return lambda: 2 * 2048**3 / min(_seconds(lambda: multiply(square).block_until_ready()), _torch_seconds(other))


def _torch_seconds(square: torch.Tensor) -> float:
    def multiply() -> None:
        _ = square @ square
        if square.is_cuda:
            torch.cuda.synchronize()

    return _seconds(multiply)


@functools.cache
def copy_rate() -> Callable[[], float]:
    """A function that measures the bytes per second that adding 1 to 256 MiB in place reads and writes."""
    copy = jax.jit(lambda x: x + 1.0, donate_argnums=0)
    held = [copy(jnp.zeros(2**26, jnp.float32))]  # into fresh memory it would be the kernel's handing out of pages

    def once() -> None:
        held[0] = copy(held[0])
        held[0].block_until_ready()

    return lambda: 2 * held[0].nbytes / _seconds(once)


def _seconds(function: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(3):
        start = clock()
        function()
        best = min(best, clock() - start)
    return best

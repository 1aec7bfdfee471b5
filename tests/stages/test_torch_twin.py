"""The PyTorch twin that speed is measured against does infoser's work: same losses and gradients for the same inputs."""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from infoser.fold_view import Features, FoldView
from infoser.models import discriminator
from infoser.stages import networks
from infoser.stages.generate import Generate, GenerateRun

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import torch_twin as twins  # noqa: E402

SIZES = twins.Sizes(audio=6, text=5, batch=12, width=16, classes=3, latent=4)
NUMBERS = {"generator_learning_rate": 1e-3, "discriminator_learning_rate": 1e-3, "dropout": 0.25, "r1_weight": 0.7}
NUMBERS |= {"class_mi_weight": 0.4, "text_mi_weight": 0.3, "pair_mi_weight": 0.0, "ema_decay": 0.9, "text_noise": 0.0}
RNG = np.random.default_rng(0)
AUDIO, TEXT = (RNG.standard_normal((60, dim)).astype(np.float32) for dim in (SIZES.audio, SIZES.text))
LABEL = np.sort(np.resize(np.arange(3), 60)).astype(np.int32)
MASKS = np.where(RNG.random((SIZES.batch, SIZES.width)) < 0.25, 0.0, 1 / 0.75).astype(np.float32)
STAGE = Generate(n_classes=3, text="own", width=16, latent_dim=4, batch_size=12, steps=10)


def layers(tree: Any, *names: str) -> list[Any]:
    """Parameters or gradients in PyTorch's order: weights transposed, then biases."""
    found = []
    for name in names:
        layer = tree["params"]
        for part in name.split("/"):
            layer = layer[part]
        found.append(np.asarray(layer["kernel"]).T)
        found += [np.asarray(layer["bias"])] if "bias" in layer else []
    return found


def in_order(discriminator: Any = None, players: Any = None) -> list[Any]:
    if discriminator is not None:
        return layers(discriminator, "first", "second", "projection", "score")
    generator = layers(players["generator"], "MLP_0/Dense_0", "MLP_0/Dense_1", "MLP_0/Dense_2")
    return generator + layers(players["recogniser"], "Dense_0", "Dense_1", "Dense_2", "Dense_3")


def as_draw(draw: Any) -> Any:
    rows, label = np.asarray(draw.rows), torch.as_tensor(np.array(draw.label)).long()
    scaled = (AUDIO - AUDIO.mean(0)) / AUDIO.std(0)
    text = torch.as_tensor(TEXT[rows])
    condition = torch.cat([torch.nn.functional.one_hot(label, 3).float(), text], dim=1)
    return twins.Draw(torch.as_tensor(scaled[rows]), label, text, condition)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """A state and a twin with the same parameters; dropout drops what MASKS says."""
    monkeypatch.setattr(discriminator, "drop", lambda x, *_: x * MASKS)
    monkeypatch.setattr(networks, "dropout_factors", lambda shape, *_: np.broadcast_to(MASKS, shape))
    view = FoldView.build(np.arange(60), LABEL, n_classes=3, audio=AUDIO, text=None, rows_padded=60, labelled_padded=60)
    run = GenerateRun(view, np.int32(0), {name: np.float32(value) for name, value in NUMBERS.items()})
    shared = Features(AUDIO[None], None, TEXT[None])
    state = jax.jit(STAGE.init)(shared, run, jax.random.key(1))
    shift = lambda leaf: leaf + 0.1 * RNG.standard_normal(leaf.shape).astype(np.float32)  # noqa: E731
    state = state.replace(discriminator=jax.tree.map(shift, state.discriminator), players=jax.tree.map(shift, state.players))
    twin = twins.Twin(SIZES, NUMBERS, {"audio": AUDIO, "text": TEXT, "label": LABEL})
    with torch.no_grad():
        for parameter, value in zip(twin.discriminator.parameters(), in_order(discriminator=state.discriminator), strict=True):
            parameter.copy_(torch.as_tensor(np.array(value)))
        for parameter, value in zip(twin.players, in_order(players=state.players), strict=True):
            parameter.copy_(torch.as_tensor(np.array(value)))
    return state, shared, run, twin


def compare(parameters: Any, expected: list[Any], terms: Any, expected_terms: Any) -> None:
    for parameter, gradient in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(parameter.grad.numpy(), gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([float(term) for term in terms], [float(term) for term in expected_terms], rtol=1e-5)


@pytest.mark.parametrize("losses", ["discriminator_losses", "compilable_discriminator_losses"])
def test_discriminator(case: Any, losses: str) -> None:
    state, shared, run, twin = case
    twin.discriminator_losses = getattr(twins, losses)
    key = jax.random.key(2)
    gradients, terms = jax.jit(STAGE.discriminator_gradients)(state, shared, run, key)
    keys = jax.random.split(key, 5)
    draws = [as_draw(STAGE._draw(shared, run, one, SIZES.batch)) for one in keys[:2]]
    noise = torch.as_tensor(np.array(jax.random.normal(keys[2], (SIZES.batch, SIZES.latent))))
    found = twin.discriminator_gradients(*draws, noise, (torch.as_tensor(MASKS),) * 2)
    compare(twin.discriminator.parameters(), in_order(discriminator=gradients), found, (terms["discriminator"], terms["r1"]))


def test_players(case: Any) -> None:
    state, shared, run, twin = case
    key = jax.random.key(3)
    gradients, terms = jax.jit(STAGE.player_gradients)(state, shared, run, key)
    keys = jax.random.split(key, 3)
    noise = torch.as_tensor(np.array(jax.random.normal(keys[1], (SIZES.batch, SIZES.latent))))
    found = twin.player_gradients(as_draw(STAGE._draw(shared, run, keys[0], SIZES.batch)), noise, torch.as_tensor(MASKS))
    names = ("generator", "class_log_likelihood", "text_log_likelihood")
    compare(twin.players, in_order(players=gradients), found, [terms[name] for name in names])


def test_steps_move_every_parameter() -> None:
    twin = twins.Twin(SIZES, NUMBERS, {"audio": AUDIO, "text": TEXT, "label": LABEL})
    before = [parameter.detach().clone() for parameter in [*twin.players, *twin.discriminator.parameters()]]
    twin.step()
    # The first average is the new generator, whatever the decay.
    for average, parameter in zip(twin.average, twin.generator.parameters(), strict=True):
        np.testing.assert_allclose(average.numpy(), parameter.detach().numpy(), rtol=1e-6)
    after = [*twin.players, *twin.discriminator.parameters()]
    moved = [bool((old != new).any()) for old, new in zip(before, after, strict=True)]
    assert all(moved[:-1])  # the last is the bias of all scores, whose real and generated shares cancel at the start
    assert torch.isfinite(twin.terms).all()

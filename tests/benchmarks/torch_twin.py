"""The generate stage (from class and text) as a good PyTorch user would write it: the same networks, losses and optimisers.

`tests/stages/test_torch_twin.py` shows that its losses and gradients are infoser's.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Sizes(NamedTuple):
    """Widths of features, text conditions and networks, and the batch."""

    audio: int
    text: int
    batch: int
    width: int
    classes: int = 4
    latent: int = 32


class Draw(NamedTuple):
    """A batch: real features, labels, text conditions, and the condition that networks read."""

    features: Tensor
    label: Tensor
    text: Tensor
    condition: Tensor


class Generator(nn.Module):
    """G(z, c, t)."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        dims = (sizes.latent + sizes.classes + sizes.text, sizes.width, sizes.width, sizes.audio)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(dims[:-1], dims[1:], strict=True))

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        first, second, last = self.layers
        hidden = F.leaky_relu(first(torch.cat([noise, condition], dim=1)), 0.2)
        return last(F.leaky_relu(second(hidden), 0.2))


class Discriminator(nn.Module):
    """D(h | c, t), given the factors of its dropout."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.first = nn.Linear(sizes.audio, sizes.width)
        self.second = nn.Linear(sizes.width, sizes.width)
        self.projection = nn.Linear(sizes.classes + sizes.text, sizes.width, bias=False)
        self.head = nn.Linear(sizes.width, 1)

    def forward(self, features: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.second(F.leaky_relu(self.first(features), 0.2) * mask), 0.2)
        return self.head(hidden)[:, 0] + (self.projection(condition) * hidden).sum(1) * hidden.shape[1] ** -0.5


class Recogniser(nn.Module):
    """Q(c, t | ĥ): class logits, and log-variance and mean of t."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.trunk = nn.Linear(sizes.audio, sizes.width)
        self.heads = nn.ModuleList(nn.Linear(sizes.width, out) for out in (sizes.classes, sizes.text, sizes.text))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = F.leaky_relu(self.trunk(features), 0.2)
        logits, log_variance, mean = (head(hidden) for head in self.heads)
        return logits, 6.0 * torch.tanh(log_variance / 6.0), mean


def discriminator_losses(
    discriminator: Callable[..., Tensor], real: Draw, imagined: Draw, generated: Tensor, masks: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Hinge loss and R1; the slope at real features comes from the pass that scores them."""
    features = real.features.detach().requires_grad_()
    score = discriminator(features, real.condition, masks[0])
    (slope,) = torch.autograd.grad(score.sum(), features, create_graph=True)
    judged = discriminator(generated, imagined.condition, masks[1])
    return (F.relu(1.0 - score) + F.relu(1.0 + judged)).mean(), 0.5 * slope.square().sum(1).mean()


def compilable_discriminator_losses(
    discriminator: nn.Module, real: Draw, imagined: Draw, generated: Tensor, masks: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The same for `torch.compile`, which differentiates no gradient: the slope is written out, layer by layer."""
    first: Any = discriminator.first
    second: Any = discriminator.second
    into, onto = first(real.features), None
    hidden = F.leaky_relu(into, 0.2) * masks[0]
    onto = second(hidden)
    direction = discriminator.head.weight[0] + discriminator.projection(real.condition) * onto.shape[1] ** -0.5  # type: ignore
    score = (F.leaky_relu(onto, 0.2) * direction).sum(1) + discriminator.head.bias  # type: ignore
    back = (direction * torch.where(onto > 0, 1.0, 0.2)) @ second.weight
    slope = (back * masks[0] * torch.where(into > 0, 1.0, 0.2)) @ first.weight
    judged = discriminator(generated, imagined.condition, masks[1])
    return (F.relu(1.0 - score) + F.relu(1.0 + judged)).mean(), 0.5 * slope.square().sum(1).mean()


def player_losses(
    generator: Callable[..., Tensor],
    discriminator: Callable[..., Tensor],
    recogniser: Callable[..., Any],
    noise: Tensor,
    imagined: Draw,
    mask: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The generator's hinge loss, and the mean log-likelihoods of class and text under Q."""
    generated = generator(noise, imagined.condition)
    score = discriminator(generated, imagined.condition, mask)
    logits, log_variance, mean = recogniser(generated)
    square = (imagined.text - mean) ** 2
    log_density = -0.5 * (float(np.log(2 * np.pi)) + log_variance + square * torch.exp(-log_variance))
    return -score.mean(), -F.cross_entropy(logits, imagined.label), log_density.mean()


class Twin:
    """One training run: networks, optimisers, moving average, and the corpus on the device.

    Args:
      sizes: of features, networks and the batch.
      numbers: learning rates, weights and decays, by their names in infoser's `GenerateRun`.
      tables: `audio`, `text` and `label` of the labelled training rows, sorted by class.
      device: where everything is.
      compiled: the losses go through `torch.compile`.
      optimizer: which of Adam's implementations, `foreach` or `fused`.
    """

    def __init__(
        self,
        sizes: Sizes,
        numbers: Mapping[str, float],
        tables: Mapping[str, np.ndarray],
        *,
        device: str = "cpu",
        compiled: bool = False,
        optimizer: str = "fused",
    ):
        self.sizes, self.numbers, self.device = sizes, numbers, device
        self.audio, self.text, label = (torch.as_tensor(tables[name], device=device) for name in ("audio", "text", "label"))
        self.count = torch.bincount(label.long(), minlength=sizes.classes)
        self.start = torch.cumsum(self.count, 0) - self.count
        kinds = (Generator, Discriminator, Recogniser)
        self.generator, self.discriminator, self.recogniser = (kind(sizes).to(device) for kind in kinds)
        self.average = [parameter.detach().clone() for parameter in self.generator.parameters()]
        self.players = [*self.generator.parameters(), *self.recogniser.parameters()]
        settings: Any = {"betas": (0.5, 0.9), optimizer: True}
        rates = (numbers["discriminator_learning_rate"], numbers["generator_learning_rate"])
        self.discriminator_adam = torch.optim.Adam(self.discriminator.parameters(), rates[0], **settings)
        self.players_adam = torch.optim.Adam(self.players, rates[1], **settings)
        self.steps, self.terms = 0, torch.zeros(5, device=device)
        self.discriminator_losses: Any = discriminator_losses
        self.player_losses: Any = player_losses
        if compiled:
            self.discriminator_losses = torch.compile(compilable_discriminator_losses, dynamic=False)
            self.player_losses = torch.compile(player_losses, dynamic=False)

    def draw(self) -> Draw:
        """A class-balanced batch."""
        size = self.sizes.batch
        label = torch.randint(self.sizes.classes, (size,), device=self.device)
        row = self.start[label] + (torch.rand(size, device=self.device) * self.count[label]).long()
        text = self.text[row]
        text = torch.add(text, torch.randn_like(text), alpha=self.numbers["text_noise"])
        condition = torch.cat([F.one_hot(label, self.sizes.classes).float(), text], dim=1)
        return Draw(self.audio[row], label, text, condition)

    def mask(self) -> Tensor:
        """The factors of a dropout layer."""
        return F.dropout(torch.ones(self.sizes.batch, self.sizes.width, device=self.device), self.numbers["dropout"])

    def noise(self) -> Tensor:
        """The generator's z."""
        return torch.randn(self.sizes.batch, self.sizes.latent, device=self.device)

    def discriminator_gradients(
        self, real: Draw, imagined: Draw, noise: Tensor, masks: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """D's losses; the gradients are left in its parameters."""
        with torch.no_grad():
            generated = self.generator(noise, imagined.condition)
        self.discriminator_adam.zero_grad(set_to_none=True)
        hinge, r1 = self.discriminator_losses(self.discriminator, real, imagined, generated, masks)
        (hinge + self.numbers["r1_weight"] * r1).backward()
        return hinge.detach(), r1.detach()

    def player_gradients(self, imagined: Draw, noise: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """The losses of G and Q; the gradients are left in their parameters."""
        self.discriminator.requires_grad_(False)
        self.players_adam.zero_grad(set_to_none=True)
        terms = self.player_losses(self.generator, self.discriminator, self.recogniser, noise, imagined, mask)
        weights = (self.numbers["class_mi_weight"], self.numbers["text_mi_weight"])
        (terms[0] - weights[0] * terms[1] - weights[1] * terms[2]).backward()
        self.discriminator.requires_grad_(True)
        return tuple(term.detach() for term in terms)

    def step(self) -> None:
        """One step of D, then one of G and Q, on fresh draws."""
        judged = self.discriminator_gradients(self.draw(), self.draw(), self.noise(), (self.mask(), self.mask()))
        self.discriminator_adam.step()
        played = self.player_gradients(self.draw(), self.noise(), self.mask())
        self.players_adam.step()
        decay = self.numbers["ema_decay"]
        weight = (1.0 - decay) / (1.0 - decay ** (self.steps + 1))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.generator.parameters()), weight)
            self.terms += torch.stack([*judged, *played])
        self.steps += 1

"""Whole experiments on IEMOCAP's features (`data/iemocap`): the table of results, CTGAN, and folds × seeds × variants."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import speed_steps
import torch
import torch.nn.functional as F
import torch_twin
from rich.console import Console
from rich.table import Table
from torch import nn

from infoser import parallel, protocols
from infoser.config import AlignConfig, ClassifyConfig, numbers
from infoser.fold_view import Features, FoldView
from infoser.metrics.classification import confusion_matrix, unweighted_average_recall
from infoser.shards import read_corpus
from infoser.stages.generate import Generate, GenerateRun

ROOT = Path(__file__).parents[2]
TABLE = ("none", "cgan", "infogan", "infogan-notext")
#: What train.py is told to train as the loop in PyTorch does; see `speed_steps.SETTINGS`.
SAME = (
    "--generate.loss",
    "hinge",
    "--generate.critic-steps",
    1,
    "--generate.pack",
    1,
    "--generate.steps",
    speed_steps.SETTINGS.steps,
)
PLAN = ("none", "noise", "mixup", "smote", "cgan", "infogan", "infogan-notext", "infogan-paired")


def train(arguments: argparse.Namespace, kept: str, *flags: object) -> float:
    """Seconds that train.py takes for IEMOCAP in a fresh run folder, start and report included.

    Args:
      arguments: where the corpus is.
      kept: the folder of what it compiles.
      flags: of train.py.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "train.py",
            "iemocap",
            "--data-dir",
            arguments.data_dir.resolve(),
            "--run-dir",
            f"{folder}/run",
        ]
        start = time.perf_counter()
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": kept, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05"}
        words = [str(part) for part in (*command, *flags)]
        ended = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    if ended.returncode:
        raise SystemExit(f"{ended.args} ended with {ended.returncode}:\n{ended.stderr}")
    return seconds


def head_step(dim: int, device: str) -> Callable[[], None]:
    """A step of the classifier head: a real and a generated batch, AdamW, moving average."""
    config = ClassifyConfig()
    layers = [nn.Linear(dim, config.width), nn.LeakyReLU(0.2), nn.Dropout(config.dropout), nn.Linear(config.width, 4)]
    head = nn.Sequential(*layers).to(device)
    average = [parameter.detach().clone() for parameter in head.parameters()]
    adam = torch.optim.AdamW(head.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)
    rows, label = torch.randn(speed_steps.ROWS, dim, device=device), torch.arange(speed_steps.ROWS, device=device) % 4

    def step() -> None:
        drawn = [torch.randint(len(rows), (config.batch_size,), device=device) for _ in range(2)]
        losses = [F.cross_entropy(head(rows[one]), label[one]) for one in drawn]
        adam.zero_grad(set_to_none=True)
        ((losses[0] + 0.3 * losses[1]) / 1.3).backward()
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(head.parameters()), 1 - config.ema_decay)

    return step


def align_step(audio_dim: int, text_dim: int, device: str) -> Callable[[], None]:
    """A step of the aligner without labels: two encoders, contrastive loss, Jensen–Shannon objective, AdamW."""
    config = AlignConfig()

    def encoder(dim: int) -> nn.Module:
        layers = [nn.Linear(dim, config.width), nn.LeakyReLU(0.2), nn.Dropout(config.dropout)]
        return nn.Sequential(
            *layers, nn.Linear(config.width, config.representation_dim), nn.LayerNorm(config.representation_dim)
        )

    encoders = nn.ModuleList([encoder(audio_dim), encoder(text_dim)]).to(device)
    critic = nn.Linear(config.representation_dim, config.representation_dim, bias=False).to(device)
    parameters = [*encoders.parameters(), *critic.parameters()]
    adam = torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay, fused=True)
    data = [torch.randn(speed_steps.ROWS, dim, device=device) for dim in (audio_dim, text_dim)]
    own = torch.arange(config.batch_size, device=device)
    others = ~torch.eye(config.batch_size, dtype=torch.bool, device=device)

    def step() -> None:
        drawn = torch.randint(len(data[0]), (config.batch_size,), device=device)
        h, t = (encode(features[drawn]) for encode, features in zip(encoders, data, strict=True))
        similarity = F.normalize(h, dim=1) @ F.normalize(t, dim=1).T / config.temperature
        contrastive = 0.5 * (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own))
        scores = critic(h) @ t.T / config.representation_dim
        information = -F.softplus(-scores.diagonal()).mean() - (F.softplus(scores) * others).sum() / others.sum()
        adam.zero_grad(set_to_none=True)
        (contrastive - config.mi_weight * information).backward()
        adam.step()

    return step


def seconds_a_step(step: Callable[[], Any], steps: int) -> float:
    """Seconds of a step, the best thread count of PyTorch being taken."""
    best = float("inf")
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        torch.set_num_threads(threads)
        for _ in range(5):
            step()
        if torch.cuda.is_available():  # what is still queued would count
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / steps)
    return best


def table_part(arguments: argparse.Namespace, out: Console) -> dict[str, Any]:
    """The table of results (5 folds × seeds × 4 variants × 3 modalities) by train.py, and by a loop in PyTorch.

    PyTorch's part is measured for some steps of each kind, before, between and after the two runs of train.py, and multiplied
    by the steps of the table; it reads no shards, draws no pools, scores and saves nothing. train.py does, and compiles,
    within its time.
    """
    device = "cpu" if arguments.device == "cpu" else "cuda"
    seeds = 1 if arguments.quick else 3
    units, steps = 5 * seeds, 30 if arguments.quick else 100
    generate, heads, align = speed_steps.SETTINGS, ClassifyConfig(), AlignConfig()
    kinds: list[tuple[str, Callable[[], None], int]] = [
        ("align", align_step(47, 512, device), units * align.steps),
        # Audio heads also see the rows of each of the three generators alone: the probes of what these hold and teach.
        *(
            (f"head, {dim}", head_step(dim, device), units * (len(TABLE) + (dim == 47) * 3) * heads.steps)
            for dim in (47, 512, 559)
        ),
    ]
    for name, text, count in (("class and text", align.representation_dim, 2), ("class alone", 0, 1)):
        sizes = torch_twin.Sizes(47, max(1, text), generate.batch_size, generate.width, latent=generate.latent_dim)
        twin = torch_twin.Twin(sizes, speed_steps.NUMBERS, speed_steps.tables(sizes), device=device)
        kinds.append((f"generate, {name}", twin.step, units * count * generate.steps))
    rounds, ours = [], []
    with tempfile.TemporaryDirectory() as kept:
        for number in range(3):  # PyTorch before, between and after: these minutes' machine is the same for both
            rounds.append([seconds_a_step(step, steps) * count for _, step, count in kinds])
            if number < 2:
                ours.append(train(arguments, kept, *SAME, "--variants", *TABLE, "--seeds", *range(seeds)))
    theirs = np.mean(rounds, axis=0)
    table = Table("PyTorch loop", "ms a step", "steps", "s", title=f"the table: 5 folds × {seeds} seeds × {len(TABLE)}")
    for (name, _, count), each in zip(kinds, theirs, strict=True):
        table.add_row(name, f"{1e3 * each / count:.2f}", f"{count:,}", f"{each:.0f}")
    sums = np.sum(rounds, axis=1)
    table.add_row("sum (before, between, after)", "", "", f"{sums.mean():.0f} ({', '.join(f'{each:.0f}' for each in sums)})")
    table.add_row("train.py, first", "", "", f"{ours[0]:.0f}")
    table.add_row("train.py, what it compiled being kept", "", "", f"{ours[1]:.0f}")
    ratios = [float(sums[place : place + 2].mean() / each) for place, each in enumerate(ours)]
    out.print(table, f"PyTorch around it / train.py {ratios[0]:.2f}, {ratios[1]:.2f} the second time")
    return {"torch_s": sums.tolist(), "first_s": ours[0], "again_s": ours[1], "ratios": ratios}


def plan_part(arguments: argparse.Namespace, out: Console) -> dict[str, Any]:
    """Five folds × five seeds × eight variants by train.py, twice, so that the second finds what the first compiled."""
    flags = ("--variants", *PLAN, "--seeds", *range(1 if arguments.quick else 5))
    flags += ("--folds", "session1") if arguments.quick else ()
    with tempfile.TemporaryDirectory() as kept:
        seconds = [train(arguments, kept, *flags) for _ in range(2)]
    what = "1 fold × 1 seed" if arguments.quick else "5 folds × 5 seeds"
    out.print(f"{what} × {len(PLAN)} variants: {seconds[0]:.1f} s, after compilation {seconds[1]:.1f} s")
    return {"what": what, "first_s": seconds[0], "again_s": seconds[1]}


def from_class(view: FoldView, audio: np.ndarray, steps: int, size: int, count: int = 1) -> tuple[float, Any]:
    """Seconds a run to train `count` of infoser's generators from the class together, compiled before; `size` rows of one."""
    config = speed_steps.SETTINGS
    stage = Generate(4, config.width, config.latent_dim, config.batch_size, steps)
    run: Any = GenerateRun(view, np.int32(0), {k: np.float32(v) for k, v in numbers(config).items()})  # type: ignore
    mode, seconds, state = parallel.RunsMode(), 0.0, None
    shared: Any = mode.replicate(Features(audio[None], None))  # type: ignore
    runs = mode.spread(jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * count), run))
    keys = mode.spread(parallel.run_keys(range(count), ["f"] * count))
    for _ in range(2):
        state, start = mode.init_runs(stage, shared, runs, keys), time.perf_counter()
        state, means, _ = mode.train_chunk(stage, steps, state, shared, runs, keys, 0)
        jax.block_until_ready(means)
        seconds = (time.perf_counter() - start) / count
    pool = mode.gather(mode.outputs(stage, "outputs", state, shared, runs, keys, size), count)
    return seconds, jax.tree.map(lambda leaf: leaf[0], pool)


def ctgan_part(arguments: argparse.Namespace, out: Console) -> dict[str, Any]:
    """CTGAN and infoser's generator from the class, on the same rows and epochs: rows per second, and TSTR UA."""
    import pandas
    from ctgan import CTGAN
    from sklearn.linear_model import LogisticRegression

    corpus = read_corpus(arguments.data_dir, "iemocap")
    fold = protocols.make_folds(corpus, "session")[0]
    train_rows = fold.train[corpus.label[fold.train] >= 0]
    audio, label = corpus.audio, corpus.label
    mean, deviation = audio[train_rows].mean(axis=0), audio[train_rows].std(axis=0)
    real = (audio - mean) / deviation
    epochs, size = arguments.ctgan_epochs, len(train_rows)

    def tstr(features: np.ndarray, target: np.ndarray) -> float:
        head = LogisticRegression(max_iter=500, class_weight="balanced").fit(features, target)
        confusion = confusion_matrix(label[fold.test], head.predict(real[fold.test]), len(corpus.classes))
        return float(unweighted_average_recall(confusion))

    view = FoldView.build(
        fold.train, label, n_classes=4, audio=audio, text=None, rows_padded=len(fold.train), labelled_padded=size
    )
    batch, default = speed_steps.SETTINGS.batch_size, speed_steps.SETTINGS.steps
    ours, group = {}, 2 * parallel.device_count()
    for steps, count in ((-(-epochs * size // batch), 1), (default, 1), (default, group)):
        seconds, pool = from_class(view, audio, steps, size, count)
        ours[steps, count] = {"rows_per_s": steps * batch / seconds, "tstr": tstr(pool.audio, pool.label), "s": seconds}

    frame = pandas.DataFrame(real[train_rows], columns=[f"a{i}" for i in range(real.shape[1])])
    frame["emotion"] = label[train_rows].astype(str)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = CTGAN(epochs=epochs, enable_gpu=arguments.device == "gpu")
    start = time.perf_counter()
    model.fit(frame, ["emotion"])
    seconds = time.perf_counter() - start
    sampled = model.sample(size)
    made = sampled["emotion"].to_numpy().astype(int)
    complete = len(np.unique(made)) > 1
    theirs = {
        "rows_per_s": epochs * size / seconds,
        "tstr": tstr(sampled.drop(columns="emotion").to_numpy(), made) if complete else float("nan"),
        "s": seconds,
    }
    table = Table("", "s", "rows per s", "TSTR UA", title=f"{size:,} rows × {real.shape[1]}, {epochs} epochs, compiled before")
    named = [
        (f"infoser, from the class, {steps:,} steps ({steps * batch / size:.1f} epochs), {count} together", one)
        for (steps, count), one in ours.items()
    ]
    for name, one in (*named, ("CTGAN (its fit, with its transformer)", theirs)):
        table.add_row(name, f"{one['s']:.2f}", f"{one['rows_per_s']:,.0f}", f"{one['tstr']:.3f}")
    times = [ours[default, count]["rows_per_s"] / theirs["rows_per_s"] for count in (1, group)]
    ceiling = tstr(real[train_rows], label[train_rows])
    out.print(
        table, f"{times[0]:.0f} × CTGAN's rows per second, {times[1]:.0f} × a run in a group; real rows give {ceiling:.3f}"
    )
    return {
        "infoser": {f"{steps} steps, {count} runs": one for (steps, count), one in ours.items()},
        "ctgan": theirs,
        "epochs": epochs,
    }

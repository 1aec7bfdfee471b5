"""Every setting: frozen dataclasses, named presets, and the checks that refuse wrong values before anything is compiled.

Imports no JAX, so that help and configuration errors answer at once. Floating-point settings of a stage are mere
numbers: runs that differ in them train as one program. Integers, names and switches are structure.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from infoser.bounds import number, share

Variant = Literal[
    "none",
    "natural",
    "focal",
    "logit-adjust",
    "oversample",
    "noise",
    "mixup",
    "smote",
    "class-gaussian",
    "cgan",
    "infogan",
    "infogan-notext",
    "infogan-paired",
]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
#: Variants that learn a generator, and what it makes features from: class and text, the class alone, or the class alone
#: but audio and text features together.
GENERATORS: dict[str, Literal["class_text", "class", "paired"]] = {
    "cgan": "class_text",
    "infogan": "class_text",
    "infogan-notext": "class",
    "infogan-paired": "paired",
}
#: Parts of a corpus that batches are stratified over.
VIRTUAL_SHARDS = 64
#: Labelled rows that `classify.weight_decay` is meant for.
DECAY_ROWS = 4000
#: The five of the plain comparison.
CORE_VARIANTS: tuple[Variant, ...] = ("none", "noise", "cgan", "infogan", "infogan-notext")
Space = Literal["encoder", "aligned"]


@dataclass(frozen=True)
class Data:
    """Which corpus."""

    name: str
    """Name of the prepared corpus: a folder of --data-dir."""
    config: str = ""
    """Which of the encoder pairs that it was prepared with; needed only where there are several."""
    text: bool = True
    """Use the corpus' text features; --data.no-text treats it as audio only."""
    cache: bool = True
    """Keep the decoded corpus beside its shards for later starts; --data.no-cache decodes them, all digests checked."""


@dataclass(frozen=True)
class AlignConfig:
    """Stage 1: audio and text encoders into one space. Serves text-conditioned generators, and --space aligned."""

    width: int = 128
    """Width of each encoder's hidden layer, and of the attention over frames."""
    representation_dim: int = 16
    """Width of the representations h and t."""
    steps: int = 600
    """Training steps."""
    batch_size: int = 256
    """Utterances in a batch; also the number of candidates in the contrastive loss."""
    cross_fits: int = 5
    """Aligners per run in the aligned space: a row is embedded by the one that did not see its label."""
    mi_estimator: Literal["jsd", "nwj", "infonce"] = "jsd"
    """Estimator of I(h;t) in the loss (jsd trains most steadily; nwj and infonce are in nats)."""
    learning_rate: float = number(1e-3, low_open=True)
    """AdamW's learning rate at the start; it falls to 0 by a half cosine."""
    weight_decay: float = number(1e-2)
    """AdamW's decoupled weight decay."""
    dropout: float = share(0.3)
    """Dropout rate after the encoders' hidden layer."""
    class_weight: float = number(1.0)
    """Weight of the class losses on h, t and [h;t]; used in the aligned space only, 0 elsewhere."""
    contrastive_weight: float = number(1.0)
    """Weight of the symmetric contrastive loss between h and t."""
    temperature: float = number(0.2, low_open=True)
    """Temperature of the contrastive loss, which divides cosine similarities."""
    mi_weight: float = number(0.1)
    """Weight of the estimate of I(h;t), which is maximised."""
    frames: bool = True
    """Pool frame sequences by attention where the corpus has them; --align.no-frames: the pooled features."""


@dataclass(frozen=True)
class GenerateConfig:
    """Stage 2: the InfoGAN over features."""

    width: int = 128
    """Width of the hidden layers of G, D and Q."""
    latent_dim: int = 32
    """Width of the noise z."""
    steps: int = 2000
    """Training steps, each one step of D and one of G with Q."""
    batch_size: int = 128
    """Utterances in a batch."""
    pool_limit: int = 20000
    """Most generated rows that are kept for one run; reaching it is said."""
    ratio: float = number(1.0, low_open=True)
    """Generated rows for each real one, for every variant that adds rows."""
    row_weight: float = number(0.3)
    """Weight of a generated row in the classifier's loss, relative to a real one."""
    generator_learning_rate: float = number(5e-4, low_open=True)
    """Adam's learning rate for G and Q."""
    discriminator_learning_rate: float = number(5e-4, low_open=True)
    """Adam's learning rate for D."""
    dropout: float = share(0.2)
    """Dropout rate in D."""
    r1_weight: float = number(0.5)
    """Weight of R1, half the squared gradient of D at real features."""
    class_mi_weight: float = number(0.1)
    """Weight of the bound on I(c;ĥ) in the loss of G and Q; 0 in the variant cgan."""
    text_mi_weight: float = number(0.1)
    """Weight of the mean log-likelihood of t per dimension under Q; 0 in the variant cgan."""
    pair_mi_weight: float = number(0.1)
    """Weight of the estimate of I(ĥ;t̂), which is maximised in the variant infogan-paired."""
    ema_decay: float = share(0.995)
    """Decay per step of the moving average of G, which generates."""


@dataclass(frozen=True)
class AugmentConfig:
    """Settings of the controls, which make rows without learning a generator."""

    noise_scale: float = number(0.5)
    """noise: standard deviation, in standard deviations of a feature."""
    mixup_alpha: float = number(0.4, low_open=True)
    """mixup: both parameters of the Beta distribution of the share of the first row."""
    smote_neighbours: int = 5
    """smote: nearest neighbours of the same class to interpolate towards."""
    focal_gamma: float = number(2.0)
    """focal: exponent of the focal loss."""
    logit_adjustment: float = number(1.0)
    """logit-adjust: multiple of the log prior that is added to the logits in training, under the prior's sampling."""


@dataclass(frozen=True)
class ClassifyConfig:
    """Stage 3: the classifier head, the same for every variant."""

    width: int = 512
    """Width of the hidden layer."""
    steps: int = 300
    """Training steps."""
    batch_size: int = 128
    """Real utterances in a batch, drawn class-balanced; as many generated rows come along, at their weight."""
    learning_rate: float = number(3e-3, low_open=True)
    """AdamW's learning rate at the start; it falls to 0 by a half cosine."""
    weight_decay: float = number(1.0)
    """AdamW's decoupled weight decay with 4,000 labelled training rows or more; with fewer, proportionally more."""
    dropout: float = share(0.5)
    """Dropout rate after the hidden layer."""
    input_dropout: float = share(0.0)
    """Dropout rate on the features."""
    label_smoothing: float = share(0.0)
    """Share of the target spread evenly over the classes."""
    ema_decay: float = share(0.99)
    """Decay per step of the moving average of the head, which predicts."""


@dataclass(frozen=True)
class Hosts:
    """Several hosts that train one experiment, each with the same command. Under srun and on TPU pods they find each other."""

    coordinator: str = ""
    """HOST:PORT at which the others reach host 0; the same on every host."""
    count: int = 0
    """Number of hosts."""
    index: int = -1
    """Which of them this is, from 0; host 0 prints, and keeps the run folder."""
    wait_s: float = number(300.0, low=1.0, high=86400.0)
    """Seconds to wait for all hosts to come together."""
    silence_s: float = number(20.0, low=2.0, high=45.0, high_open=False)
    """Seconds without a sign of life after which a host counts as lost, and the others end."""


@dataclass(frozen=True)
class Config:
    """Trains folds × seeds × variants and prints an honest table; run again, it goes on where it stopped."""

    data: Data
    data_dir: Path = Path("data")
    """Folder of prepared corpora (see datasets/prepare.py)."""
    run_dir: Path = Path("runs/run")
    """Folder for checkpoints, metrics and results of this experiment."""
    variants: tuple[Variant, ...] = ("none", "noise", "infogan")
    """What the classifier is trained on. none: real rows, class-balanced batches; natural: batches by prior; focal: focal
    loss; logit-adjust: by prior, logits adjusted. Added rows: oversample (copies), noise (copies with Gaussian noise),
    mixup, smote, class-gaussian, cgan (infogan with the information terms at 0), infogan (made from class and text),
    infogan-notext (from the class alone), infogan-paired (audio and text features together)."""
    aligned_variants: tuple[Variant, ...] = ()
    """Variants that are trained in the aligned space too; their rows carry the cell space=aligned."""
    seeds: tuple[int, ...] = (0,)
    """One run for each seed, fold and variant."""
    folds: tuple[str, ...] = ()
    """Names of the folds to run; all of them if none is named."""
    protocol: Literal["auto", "session", "speaker", "kfold", "official"] = "auto"
    """What makes the folds: session (leave one session out), speaker (leave one speaker out), kfold (5 groups of whole
    speakers), official (the corpus' own split), or auto: official, else session, else speaker, else kfold."""
    keep_partner: bool = False
    """speaker: train on the test speaker's conversation partners too (named in the table)."""
    label_fraction: float = number(1.0, low_open=True, high_open=False, high=1.0)
    """Share of each class' training labels that is used, drawn for each fold and seed; the other rows stay, unlabelled."""
    space: Space = "encoder"
    """Where features are generated and classified: encoder (the encoders' own features) or aligned (representations of
    cross-fitted aligners)."""
    parallel: Literal["runs", "data"] = "runs"
    """How devices are used: runs gives each device its share of the runs, data its share of every batch."""
    accumulate: int = 1
    """Parts that networks read a batch in, one after the other: gradients are those of the whole batch, in less memory (and
    a third more time, since the parts are computed again on the way back)."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """What networks compute in while they train; parameters, optimisers and losses stay float32."""
    final: bool = False
    """Also refit on all labelled utterances (below RUN/final/VARIANT); may be added to a finished run."""
    final_variant: Variant = "none"
    """The variant that --final refits."""
    align: AlignConfig = field(default_factory=AlignConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    hosts: Hosts = field(default_factory=Hosts)
    max_group_gib: float = number(1.0, low_open=True)
    """GiB that the added rows of heads training together may take; more runs train in several groups."""
    virtual_shards: int = VIRTUAL_SHARDS
    """Parts of the corpus, of rows that follow one another, that every batch is stratified over."""
    resident_gib: float = number(0.0)
    """GiB of features that stay in memory, on each device; what is larger is streamed from the shards' cache, in tables that
    take no more than this together. 0: half of a device's memory, a quarter of the host's where that is the device."""
    chunk_steps: int = 100
    """Steps that a compiled call takes before the host looks in."""
    checkpoint_every_s: float = number(60.0)
    """Seconds between checkpoints while a stage trains; the end of a stage is always saved."""


def numbers(config: Any) -> dict[str, float]:
    """The floating-point settings of a stage: what may differ between runs of one program."""
    return {name: value for name, value in dataclasses.asdict(config).items() if isinstance(value, float)}

"""Every setting: frozen dataclasses, named presets, and the checks that refuse wrong values before anything is compiled.

Imports no JAX, so that help and configuration errors answer at once. Floating-point settings of a stage are mere
numbers: runs that differ in them train as one program. Integers, names and switches are structure.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import UseAppendAction

from infoser.ablations import AblationName
from infoser.bounds import number, share
from infoser.variants import Variant

#: Parts of a corpus that batches are stratified over.
VIRTUAL_SHARDS = 64
Space = Literal["encoder", "aligned", "joined"]
#: Estimators of mutual information as terms of a loss (`models.information`), of features and of classes.
Estimator = Literal["barber-agakov", "mixture", "infonce", "nwj", "dv", "mine", "jsd", "smile", "club"]
ClassEstimator = Literal["barber-agakov", "infonce", "nwj", "dv", "mine", "jsd", "smile", "club"]
Critic = Literal["separable", "bilinear", "distance", "concatenated"]


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
    """Keep the decoded corpus beside its shards for later starts, or where those are read-only in the user's cache folder;
    --data.no-cache decodes them, all digests checked."""
    train_with: tuple[str, ...] = ()
    """Further prepared corpora that are one with it from here on, NAME or NAME/CONFIG; --protocol corpus leaves one out."""
    test_corpus: str = ""
    """A further prepared corpus, NAME or NAME/CONFIG, to be tested on and never trained on (--protocol cross-corpus)."""
    classes: tuple[str, ...] = ()
    """Classes of the first corpus and those of further ones that count as each, such as: ang=anger hap=joy,amusement. Classes
    that are not named are not shared, and their rows are unlabelled. Default: classes of one name."""
    normalise: Literal["training", "corpus", "speaker"] = "training"
    """What standardises features of several corpora. training: the fold's training part; corpus: each corpus by itself,
    speaker: each speaker (both look at features of the test part, but at no label: transductive; named in the table)."""


@dataclass(frozen=True)
class AlignConfig:
    """Stage 1: audio and text encoders into one space. Serves text-conditioned generators, and --space aligned."""

    width: int = 128
    """Width of each encoder's hidden layer, and of the attention over frames."""
    representation_dim: int = 16
    """Width of the representations h and t."""
    steps: int = 600
    """Training steps of each aligner."""
    batch_size: int = 256
    """Utterances in a batch; also the number of candidates in the contrastive loss."""
    cross_fits: int = 5
    """Aligners per run in the aligned space: a row is embedded by the one that did not see its label."""
    mi_estimator: Estimator = "jsd"
    """Estimator of I(h;t) in the loss: jsd (steadiest; not in nats); infonce and nwj (lower bounds); dv, mine and smile (in
    nats, no bounds of a batch); barber-agakov and mixture (ln q(t|h), one Gaussian or several); club (an upper bound)."""
    critic: Critic = "bilinear"
    """What scores pairs (h, t) for the estimators that need it: bilinear, distance (bilinear of low rank), separable (a network
    for each side) or concatenated (one network for every pair: slow)."""
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
    joined_weight: float = number(1.0, low_open=True)
    """Standard deviation of the representations beside encoder features, whose own is 1, in the joined space."""
    frames: bool = True
    """Pool frame sequences by attention where the corpus has them; --align.no-frames: the pooled features."""


@dataclass(frozen=True)
class GenerateConfig:
    """Stage 2: the InfoGAN over features."""

    width: int = 128
    """Width of the hidden layers of G, D and Q."""
    latent_dim: int = 64
    """Width of the noise z."""
    steps: int = 1000
    """Training steps, each one step of G with Q after those of D."""
    batch_size: int = 128
    """Utterances in a batch."""
    pool_limit: int = 20000
    """Most generated rows that are kept for one run; reaching it is said."""
    ratio: float = number(1.0, low_open=True)
    """Generated rows for each real one, for every variant that adds rows."""
    row_weight: float = number(0.3)
    """Weight of a generated row in the classifier's loss, relative to a real one."""
    generator_learning_rate: float = number(2e-4, low_open=True)
    """Adam's learning rate for G and Q."""
    discriminator_learning_rate: float = number(2e-3, low_open=True)
    """Adam's learning rate for D."""
    dropout: float = share(0.3)
    """Dropout rate after D's hidden layers."""
    text_noise: float = number(1.5)
    """Standard deviation of noise on the text representation that a row is made from, whose own is 1: a generator that is given
    the exact text of a training row can learn the row by heart."""
    r1_weight: float = number(0.5)
    """Weight of R1, half the squared gradient of D at real features, in the hinge and non-saturating losses."""
    class_mi_weight: float = number(0.1)
    """Weight of the bound on I(c;ĥ) in the loss of G and Q; 0 in the variant cgan."""
    text_mi_weight: float = number(0.1)
    """Weight of the mean log-likelihood of t per dimension under Q; 0 in the variant cgan."""
    pair_mi_weight: float = number(0.1)
    """Weight of the estimate of I(ĥ;t̂), which is maximised in the variant infogan-paired."""
    ema_decay: float = share(0.995)
    """Decay per step of the moving average of the generator, which generates."""
    loss: Literal["hinge", "non-saturating", "wasserstein"] = "wasserstein"
    """Adversarial loss. wasserstein takes the gradient penalty, the others R1."""
    gradient_penalty_weight: float = number(10.0)
    """Weight of the gradient penalty of the wasserstein loss."""
    discriminator: Literal["projection", "auxiliary"] = "projection"
    """How D knows of the class: by projection, or by an auxiliary classifier that G has to satisfy too."""
    auxiliary_weight: float = number(1.0)
    """Weight of the auxiliary classifier's cross-entropy, for D and G."""
    spectral_norm: bool = False
    """Bring the largest singular value of every layer of D to 1."""
    pack: int = 2
    """Rows that D judges together (PacGAN), against generators that repeat themselves, or training rows; divides the batch."""
    critic_steps: int = 3
    """Steps of D for each of G. The distance that G is led by is only as true as D is well fitted."""
    unlabelled_weight: float = number(0.0)
    """Weight of a further loss of D on all training rows, labelled or not, whatever their class; 0: D sees labelled rows."""
    class_mi_estimator: ClassEstimator = "barber-agakov"
    """Estimator of I(c;ĥ): barber-agakov is ln q(c|ĥ) by Q; the others are those of --align.mi-estimator."""
    text_mi_estimator: Estimator = "barber-agakov"
    """Estimator of I(t;ĥ): barber-agakov is ln q(t|ĥ) per dimension by Q; the others are those of --align.mi-estimator."""
    pair_mi_estimator: Estimator = "jsd"
    """Estimator of I(ĥ;t̂) in the variant infogan-paired; as --align.mi-estimator."""
    critic: Critic = "separable"
    """What scores pairs for the estimators that need it; as --align.critic."""
    noise_levels: int = 100
    """diffusion: levels of noise that a row is made through."""
    diffusion_learning_rate: float = number(1e-3, low_open=True)
    """diffusion: Adam's learning rate."""
    condition_dropout: float = share(0.1)
    """diffusion: share of training rows whose condition is hidden, which guidance needs."""
    guidance: float = number(0.0)
    """diffusion: how far the condition is exaggerated; 0: not at all."""
    label_by: Literal["condition", "recogniser", "teacher"] = "condition"
    """Class probabilities of generated rows: of the class they were made from, by Q (which then learns from real rows too) or
    by the teacher of --augment.teacher-parts. infogan-unconditional has no class: recogniser stands in for condition;
    diffusion-unconditional has no recogniser either, and needs the teacher."""
    keep_by: Literal["all-rows", "discriminator", "recogniser", "teacher", "consensus"] = "all-rows"
    """Which generated rows are kept, class by class: all-rows; those that D takes for real; whose class Q or the teacher is
    surest of; consensus: by the worst of the three ranks."""
    keep_share: float = number(0.5, low_open=True, high=1.0, high_open=False)
    """Share of the generated rows that --generate.keep-by keeps; as many more are generated."""
    fill: Literal["balanced", "minority", "prior"] = "balanced"
    """Classes of the added rows of generators: equally many; so that real and added rows together are as balanced as they can
    be; or as frequent as in the training part."""
    curriculum: float = number(1.0, low_open=True, high=1.0, high_open=False)
    """Share of the generated rows, the surest ones, that the classifier begins with; it grows to all of them."""


@dataclass(frozen=True)
class AugmentConfig:
    """Settings of the controls, which make rows without learning a generator, and of the teacher."""

    noise_scale: float = number(0.5)
    """noise: standard deviation, in standard deviations of a feature."""
    mixup_alpha: float = number(0.4, low_open=True)
    """mixup: both parameters of the Beta distribution of the share of the first row."""
    smote_neighbours: int = 5
    """smote: nearest neighbours of the same class to interpolate towards."""
    focal_gamma: float = number(2.0)
    """focal: exponent of the focal loss."""
    teacher_parts: int = 5
    """teacher: heads on audio and text that are trained on all but one part of the speakers each; a row is taught by the one
    that has not seen it, rows without a label by all."""
    logit_adjustment: float = number(1.0)
    """logit-adjust: multiple of the log prior that is added to the logits in training, under the prior's sampling."""


@dataclass(frozen=True)
class ClassifyConfig:
    """Stage 3: the classifier head, the same for every variant."""

    width: int = 512
    """Width of the hidden layer."""
    steps: int = 300
    """Training steps of each classifier (and teacher)."""
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
    audio_scaling_power: float = number(1.0, high=1.0, high_open=False)
    """Heads read audio columns divided by this power of their standard deviation. 1: all of the same spread; 0: in the
    proportions that they come in, which is no good where their units differ; the modality as a whole has variance 1."""
    text_scaling_power: float = number(1.0, high=1.0, high_open=False)
    """The same power for text columns. 1: all of the same spread; 0: in the proportions that they come in."""
    block_scaling: float = number(0.0, high=1.0, high_open=False)
    """How far heads on both raise the modality of fewer columns. 0: every column counts the same; 1: every modality."""

    @property
    def structure(self) -> tuple[int, int, int]:
        """Width, batch size and steps: heads that share them train as one program; the rest are numbers."""
        return self.width, self.batch_size, self.steps


@dataclass(frozen=True)
class Hosts:
    """Several hosts that train one experiment, each with the same command. Under srun and on TPU pods they find each other."""

    coordinator: str = ""
    """HOST:PORT at which the others reach host 0; the same on every host."""
    count: int = 0
    """Number of hosts that run this command together."""
    index: int = -1
    """Which of them this is, from 0; host 0 prints, and keeps the run folder."""
    wait_s: float = number(300.0, low=1.0, high=86400.0)
    """Seconds to wait for all hosts to come together."""
    silence_s: float = number(20.0, low=2.0, high=45.0, high_open=False)
    """Seconds without a sign of life after which a host counts as lost, and the others end."""


@dataclass(frozen=True)
class Config:
    """Trains folds × seeds × variants and prints an honest table; run again, it goes on where it stopped, and asked for more
    seeds, folds, variants or cells it trains what is missing."""

    data: Data
    data_dir: Path = Path("data")
    """Folder of prepared corpora (see datasets/prepare.py)."""
    run_dir: Path = Path("runs/run")
    """Folder for checkpoints, metrics and results of this experiment."""
    variants: tuple[Variant, ...] = ("none", "noise", "infogan")
    """What the classifier is trained on. none: real rows, class-balanced batches; natural: batches by prior; focal: focal
    loss; logit-adjust: by prior, logits adjusted. Added rows: oversample (copies), noise (copies with Gaussian noise),
    mixup, smote, class-gaussian, teacher (all training rows, with class probabilities by heads on both modalities that did not
    see them), cgan (infogan with the information terms at 0), infogan (made from class and text), infogan-notext (from the
    class alone), infogan-paired (audio and text features together), infogan-other-text (text of another row of the class),
    infogan-wrong-text (infogan, asked for a class with the text of another: a probe), infogan-text-alone,
    infogan-unconditional; diffusion, diffusion-notext and so on: the same by denoising diffusion."""
    aligned_variants: tuple[Variant, ...] = ()
    """Variants that are trained in the aligned space too; their rows carry the cell space=aligned."""
    joined_variants: tuple[Variant, ...] = ()
    """Variants that are trained in the joined space too; their rows carry the cell space=joined."""
    ablate: tuple[AblationName, ...] = ()
    """Named ablations, each a set of cells or variants beside the base configuration. mutual_information: each information
    term off alone, all off, and other estimators; estimator: these of one term at a time; cross_modal: infogan, -notext,
    -paired, -other-text, -wrong-text; condition: cgan, infogan, -notext, -text-alone, -unconditional; adversarial:
    --generate.loss; ratio: --generate.ratio 0.1 to 2; filter: --generate.keep-by; label_fraction: 0.25, 0.1, 0.05; alignment:
    terms and estimator of the aligner, and spaces. A cell trains the variants that its settings can change; differences are to
    none under the same settings."""
    grid: UseAppendAction[tuple[str, ...]] = ()
    """KEY=V,V…: the values of a flag to compare, such as generate.ratio=0.25,1; may be given several times, for every
    combination. Cells of --ablate and --grid come together."""
    select: Literal["off", "dev"] = "off"
    """dev: chooses for every fold and label fraction, for audio and for both modalities together, on speaker-disjoint parts of
    the training part alone (or the corpus' own development part, where no two folds can serve each other), among --candidates,
    and trains the chosen one on all of the training part: the variant selected. It is compared with none, whose head is chosen
    alike among --none-candidates; their rows carry the cell select=dev."""
    candidates: tuple[str, ...] = ()
    """--select: what selected is chosen among, each a variant with settings in one argument, such as "noise generate.ratio=2".
    The first is taken unless another gains more than the gain's standard error over the parts (of a single part, more than
    nothing). Default: a list of seven (infoser/candidates.py)."""
    none_candidates: tuple[str, ...] = ()
    """--select: what none is chosen among, such as "none classify.dropout=0.7". Default: a list of seven head settings. The
    longer of both lists is cut to the length of the other."""
    primary: str = ""
    """Which comparisons p-values are corrected for by Holm's method: those of one of the ablations named, of grid, all, or
    selected: selected against none, audio and both, at 100 % and 10 % of the labels. Default: selected with --select dev, else
    all."""
    budget: str = ""
    """Time to train for, such as 2h, 30m or 1h30m: says beforehand which cells and seeds, and whether the refit of --final
    (the last), will be finished, trains those, and says what is left; the same command goes on. Without it, everything is
    trained."""
    seeds: tuple[int, ...] = (0,)
    """One run for each seed, fold and variant."""
    folds: tuple[str, ...] = ()
    """Names of the folds to run; all of them if none is named."""
    protocol: Literal["auto", "session", "speaker", "kfold", "official", "corpus", "cross-corpus"] = "auto"
    """What makes the folds: session (leave one session out), speaker (leave one speaker out), kfold (5 groups of whole
    speakers), official (the corpus' own split), corpus (leave one of several corpora out), cross-corpus (train on all but
    --data.test-corpus, test on that), or auto: of several corpora the latter two, else official, session, speaker, kfold."""
    keep_partner: bool = False
    """speaker: train on the test speaker's conversation partners too (named in the table)."""
    label_fraction: float = number(1.0, low_open=True, high_open=False, high=1.0)
    """Share of each class' training labels that is used, drawn for each fold and seed; the other rows stay, unlabelled."""
    space: Space = "encoder"
    """Where features are generated and classified: encoder (the encoders' own features), aligned (representations of
    cross-fitted aligners) or joined (encoder features with representations of a label-free aligner appended)."""
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
    """Parts of the corpus, of rows that follow one another, that batches are stratified over (generators with
    --generate.pack above 1 draw each row from all: those of a pack have to be independent)."""
    resident_gib: float = number(0.0)
    """GiB of features that stay in memory, on each device; what is larger is streamed from the shards' cache, in tables that
    take no more than this together. 0: half of a device's memory, a quarter of the host's where that is the device."""
    chunk_steps: int = 100
    """Steps that a compiled call takes before the host looks in."""
    checkpoint_every_s: float = number(60.0)
    """Seconds between checkpoints while a stage trains; the end of a stage is always saved."""
    tensorboard: bool = True
    """Write the loss terms of every run for TensorBoard too, below RUN/events; --no-tensorboard does without."""


def numbers(config: Any) -> dict[str, float]:
    """The floating-point settings of a stage: what may differ between runs of one program."""
    return {name: value for name, value in dataclasses.asdict(config).items() if isinstance(value, float)}

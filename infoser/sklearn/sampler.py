"""An over-sampler of imbalanced-learn that makes rows by the library's InfoGAN."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from imblearn.over_sampling.base import BaseOverSampler
from imblearn.utils import check_target_type
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from infoser.config import GenerateConfig
from infoser.selection import wanted_by_class
from infoser.sklearn.tables import Standardisation, settings_of

#: Parameters of the sampler that are settings of `GenerateConfig`, under the same names.
SETTINGS = (
    "steps",
    "width",
    "latent_dim",
    "batch_size",
    "generator_learning_rate",
    "discriminator_learning_rate",
    "dropout",
    "class_mi_weight",
    "class_mi_estimator",
    "critic",
    "ema_decay",
    "loss",
    "critic_steps",
    "gradient_penalty_weight",
    "r1_weight",
    "discriminator",
    "auxiliary_weight",
    "spectral_norm",
    "pack",
)


class InfoGANSampler(BaseOverSampler):
    """Adds rows that an InfoGAN makes from their class: G(z, c), the library's variant `infogan-notext`.

    `fit_resample` standardises X by its own rows, trains the generator, and returns the given rows followed by generated ones
    in the units of X. In a pipeline of imbalanced-learn it takes part in `fit` alone: no row that is predicted is ever seen
    by it, nor added to. Classes may be of any type, and as small as one row (of which little can be learnt). A constant
    column stays constant; an integer column is filled with rounded numbers, in a data frame as in an array.

    Without text the generator knows of the class only; `infoser.sklearn.SpeechEmotionClassifier` has the variants with text.

    Args:
      ratio: generated rows for each given one, as `--generate.ratio` of the commands; None: as many as `sampling_strategy`
        says. Only one of them may be given.
      fill: classes of the rows that `ratio` adds: "balanced" (equally many), "minority" (so that given and added rows together
        are as balanced as they can be) or "prior" (as frequent as in y).
      sampling_strategy: as imbalanced-learn has it: "auto" (every class up to the largest), "minority", "not minority", "not
        majority", "all", for two classes the number of rows of the smaller over that of the larger, a dictionary of classes and
        their rows after resampling, or a function of y that returns one.
      random_state: int, RandomState or None. The same int gives the same rows on the same kind of machine.
      steps: training steps, each one step of G with Q after `critic_steps` of D.
      width: width of the hidden layers of G, D and Q.
      latent_dim: width of the noise z.
      batch_size: rows in a batch, drawn class-balanced and with replacement; may exceed the rows of X.
      generator_learning_rate, discriminator_learning_rate: Adam's, for G with Q and for D.
      dropout: rate after D's hidden layers.
      class_mi_weight: weight of the bound on I(c;ĥ), in nats, in the loss of G and Q; 0 makes it a conditional GAN.
      class_mi_estimator, critic: estimator of I(c;ĥ), and what scores pairs for those that need it.
      ema_decay: decay per step of the moving average of G, which generates.
      loss: "wasserstein" (with `gradient_penalty_weight`), "hinge" or "non-saturating" (with `r1_weight`).
      critic_steps: steps of D for each of G.
      gradient_penalty_weight, r1_weight: weights of the penalties.
      discriminator: how D knows of the class: "projection" or "auxiliary" (with `auxiliary_weight`).
      auxiliary_weight: weight of the auxiliary classifier's cross-entropy.
      spectral_norm: whether the largest singular value of every layer of D is brought to 1.
      pack: rows that D judges together; divides `batch_size`.

    Attributes:
      classes_: (C,) the classes, sorted.
      sampling_strategy_: how many rows were generated of each class that rows were generated of.
      losses_: for each loss term its means over every 100 steps.
      n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
      ValueError: (on fitting) for a setting out of bounds, NaN or infinite X, sparse X, a single class, or a loss that stops
        being finite.
      TypeError: (on fitting) for a setting of another type, or a sparse matrix.

    Examples:
      >>> import numpy as np
      >>> from infoser.sklearn import InfoGANSampler
      >>> rng = np.random.default_rng(0)
      >>> emotion = np.repeat(["angry", "neutral"], [15, 45])
      >>> X = rng.normal(size=(60, 3)) + 3 * (emotion == "angry")[:, None]
      >>> sampler = InfoGANSampler(random_state=0, steps=20, width=16)
      >>> X_resampled, emotion_resampled = sampler.fit_resample(X, emotion)
      >>> X_resampled.shape, int((emotion_resampled == "angry").sum())
      ((90, 3), 45)
      >>> made, of_class = sampler.sample({"angry": 2, "neutral": 1}, random_state=1)
      >>> made.shape, of_class.tolist()
      ((3, 3), ['angry', 'angry', 'neutral'])

      In a pipeline of imbalanced-learn, half as many generated rows as there are training rows:

      >>> from imblearn.pipeline import make_pipeline
      >>> from sklearn.linear_model import LogisticRegression
      >>> from sklearn.model_selection import cross_val_score
      >>> from sklearn.preprocessing import StandardScaler
      >>> sampler = InfoGANSampler(ratio=0.5, random_state=0, steps=20, width=16)
      >>> pipeline = make_pipeline(StandardScaler(), sampler, LogisticRegression())
      >>> cross_val_score(pipeline, X, emotion, cv=2, scoring="balanced_accuracy").shape
      (2,)
    """

    n_features_in_: int

    def __init__(
        self,
        *,
        ratio: float | None = None,
        fill: Literal["balanced", "minority", "prior"] = "balanced",
        sampling_strategy: float | str | Mapping[Any, int] | Callable[[Any], Mapping[Any, int]] = "auto",
        random_state: int | np.random.RandomState | None = None,
        steps: int = GenerateConfig.steps,
        width: int = GenerateConfig.width,
        latent_dim: int = GenerateConfig.latent_dim,
        batch_size: int = GenerateConfig.batch_size,
        generator_learning_rate: float = GenerateConfig.generator_learning_rate,
        discriminator_learning_rate: float = GenerateConfig.discriminator_learning_rate,
        dropout: float = GenerateConfig.dropout,
        class_mi_weight: float = GenerateConfig.class_mi_weight,
        class_mi_estimator: str = GenerateConfig.class_mi_estimator,
        critic: str = GenerateConfig.critic,
        ema_decay: float = GenerateConfig.ema_decay,
        loss: Literal["wasserstein", "hinge", "non-saturating"] = GenerateConfig.loss,
        critic_steps: int = GenerateConfig.critic_steps,
        gradient_penalty_weight: float = GenerateConfig.gradient_penalty_weight,
        r1_weight: float = GenerateConfig.r1_weight,
        discriminator: Literal["projection", "auxiliary"] = GenerateConfig.discriminator,
        auxiliary_weight: float = GenerateConfig.auxiliary_weight,
        spectral_norm: bool = GenerateConfig.spectral_norm,
        pack: int = GenerateConfig.pack,
    ):
        super().__init__(sampling_strategy=sampling_strategy)  # pyright: ignore[reportArgumentType]
        self.ratio = ratio
        self.fill = fill
        self.random_state = random_state
        self.steps = steps
        self.width = width
        self.latent_dim = latent_dim
        self.batch_size = batch_size
        self.generator_learning_rate = generator_learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.dropout = dropout
        self.class_mi_weight = class_mi_weight
        self.class_mi_estimator = class_mi_estimator
        self.critic = critic
        self.ema_decay = ema_decay
        self.loss = loss
        self.critic_steps = critic_steps
        self.gradient_penalty_weight = gradient_penalty_weight
        self.r1_weight = r1_weight
        self.discriminator = discriminator
        self.auxiliary_weight = auxiliary_weight
        self.spectral_norm = spectral_norm
        self.pack = pack

    def __sklearn_tags__(self):
        """imbalanced-learn's, without sparse matrices: what a generator makes is dense."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags

    def fit(self, X: Any, y: Any) -> InfoGANSampler:
        """Trains the generator; `sample` then draws from it.

        Args:
          X: (N, dim) array or data frame of finite numbers.
          y: (N,) classes.
        """
        self.fit_resample(X, y)
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Trains the generator and returns the given rows, in their order, followed by generated ones.

        Args:
          X: (N, dim) array or data frame of finite numbers.
          y: (N,) classes; one-hot rows (N, C) are taken too, and returned.

        Returns:
          (N + added, dim) features and as many classes, each in the container and types that were given; a data frame keeps the
          names and types of its columns, and gets an index of its own.
        """
        resampled: Any = super().fit_resample(X, y)
        return resampled

    def sample(self, n: int | Mapping[Any, int], random_state: int | np.random.RandomState | None = None) -> tuple[Any, Any]:
        """Draws generated rows, class by class in the order of `classes_`.

        Args:
          n: how many rows, equally many of each class up to one; or how many of each class.
          random_state: an int gives the same rows every time; None other ones.

        Returns:
          (rows, dim) features, as a data frame if one was fitted, and (rows,) classes, as a series if one was fitted.

        Raises:
          NotFittedError: before fitting.
          ValueError: for a negative number, or a class that was not in y.
        """
        check_is_fitted(self, "classes_")
        counts = self._counts(n)
        label = np.repeat(np.arange(len(self.classes_)), counts)
        features = self._generated(label, _seed(check_random_state(random_state)))
        return self._given.features(features), self._given.target(self.classes_[label])

    def _counts(self, n: int | Mapping[Any, int]) -> list[int]:
        if not isinstance(n, Mapping):
            _check_count("n", n)
            return [len(part) for part in np.array_split(np.arange(n), len(self.classes_))]
        unknown = [one for one in n if one not in set(self.classes_.tolist())]
        if unknown:
            raise ValueError(f"n names the class {unknown[0]!r}, which was not fitted; there are {self.classes_.tolist()}")
        for one, count in n.items():
            _check_count(f"n[{one!r}]", count)
        return [int(n.get(one, 0)) for one in self.classes_.tolist()]

    def _check_X_y(self, X: Any, y: Any, accept_sparse: Any = None) -> tuple[Any, Any, bool]:
        given = _Given(X, y)
        y, one_hot = check_target_type(y, indicate_one_vs_all=True)
        if hasattr(X, "sparse") and hasattr(X, "dtypes"):  # a data frame of sparse columns
            X = X.sparse.to_dense()
        X, y = validate_data(self, X=X, y=y, reset=True, accept_sparse=False)
        self._being_fitted = given
        return X, y, one_hot

    def _fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        config, random_state = self._config(), check_random_state(self.random_state)
        classes, label = np.unique(y, return_inverse=True)
        self.sampling_strategy_ = self._added(label, classes)
        self._train(X, label, config, _seed(random_state), classes)
        counts = [self.sampling_strategy_.get(one, 0) for one in self.classes_.tolist()]
        added = np.repeat(np.arange(len(self.classes_)), counts)
        features = self._generated(added, _seed(random_state))
        return np.concatenate([X, features.astype(X.dtype)]), np.concatenate([y, self.classes_[added].astype(y.dtype)])

    def _config(self) -> GenerateConfig:
        """The settings, checked."""
        values = {name: getattr(self, name) for name in SETTINGS}
        if self.ratio is not None:
            values["ratio"] = self.ratio
        config = settings_of(GenerateConfig, values | {"fill": self.fill})
        if config.batch_size % config.pack:
            raise ValueError(f"pack {config.pack}: must divide batch_size {config.batch_size}, which D judges in packs")
        return config

    def _added(self, label: np.ndarray, classes: np.ndarray) -> OrderedDict[Any, int]:
        """How many rows are generated of each class; what `sampling_strategy` says has been computed by the base class."""
        if self.ratio is None:
            if self.fill != "balanced":
                raise ValueError(f"fill {self.fill!r} says of which classes ratio adds rows; give ratio too")
            wanted: Any = self.sampling_strategy_
            return OrderedDict((one, int(wanted[one])) for one in classes.tolist() if one in wanted)
        if self.sampling_strategy != "auto":
            raise ValueError("ratio and sampling_strategy both say how many rows are added; give one of them")
        real = np.bincount(label, minlength=len(classes))
        counts = wanted_by_class(self.fill, real, max(1, round(self.ratio * len(label))))
        return OrderedDict((one, int(count)) for one, count in zip(classes.tolist(), counts, strict=True) if count)

    def _train(self, X: np.ndarray, label: np.ndarray, config: GenerateConfig, seed: int, classes: np.ndarray) -> None:
        from infoser.sklearn import generators, training

        standardisation = Standardisation.of(X)
        shared, view = training.tables(label, len(classes), standardisation.apply(X))
        trained = generators.train("infogan-notext", config, len(classes), shared, view, seed)
        # Only now, so that a training that fails leaves what was fitted before, or nothing.
        self.classes_, self._standardisation, self._given = classes, standardisation, self._being_fitted
        self.losses_ = trained.losses
        self._generator = trained.average()
        self._structure = {"width": config.width, "latent_dim": config.latent_dim}  # parameters may be set after fitting
        self._rounded, self._least, self._most = self._given.integer_columns(X)

    def _generated(self, label: np.ndarray, seed: int) -> np.ndarray:
        """(rows, dim) features of the classes that are numbered so, in the units of X, float64."""
        from infoser.sklearn import training

        made = training.generated(
            self._generator,
            **self._structure,
            label=label,
            n_classes=len(self.classes_),
            dim=self.n_features_in_,
            seed=seed,
        )
        features = self._standardisation.invert(made)
        features[:, self._rounded] = np.rint(features[:, self._rounded])
        return np.clip(features, self._least, self._most)


class _Given:
    """The containers and types that were fitted, and what else is put into the like."""

    def __init__(self, X: Any, y: Any):
        self._columns, self._dtypes = (getattr(X, name, None) for name in ("columns", "dtypes"))
        self._dtype = getattr(X, "dtype", None)
        self._series = hasattr(y, "to_frame") and hasattr(y, "name")
        self._target_name, self._target_dtype = getattr(y, "name", None), getattr(y, "dtype", None)

    def integer_columns(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(dim,) bool: which columns hold integers; and the least and greatest number that each column's type can hold."""
        types = [X.dtype] * X.shape[1] if self._dtypes is None else list(self._dtypes)
        least, most = zip(*map(_bounds, types), strict=True)
        return np.array([getattr(one, "kind", "") in "iub" for one in types]), np.array(least), np.array(most)

    def features(self, made: np.ndarray) -> Any:
        """As a data frame, if one was fitted."""
        if self._columns is None:
            return made if self._dtype is None else made.astype(self._dtype)
        import pandas

        return pandas.DataFrame(made, columns=self._columns).astype(self._dtypes)

    def target(self, classes: np.ndarray) -> Any:
        """As a series, if one was fitted."""
        if not self._series:
            return classes
        import pandas

        return pandas.Series(classes, name=self._target_name, dtype=self._target_dtype)


def _bounds(dtype: Any) -> tuple[float, float]:
    """The least and greatest number of a type, as float64 that it holds; of others than integers there are none."""
    kind = getattr(dtype, "kind", "")
    if kind == "b":
        return 0.0, 1.0
    if kind not in "iu" or not kind:
        return -np.inf, np.inf
    info = np.iinfo(getattr(dtype, "numpy_dtype", dtype))  # pandas' own types of integers hold NumPy's
    most = float(info.max)
    return float(info.min), most if int(most) <= info.max else float(np.nextafter(most, 0.0))


def _check_count(name: str, count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 0:
        raise ValueError(f"{name} {count!r}: must be a number of rows, 0 or more")


def _seed(random_state: np.random.RandomState) -> int:
    return int(random_state.randint(2**31 - 1))

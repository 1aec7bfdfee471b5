"""A classifier of scikit-learn over the library's whole chain: standardisation, added rows, then the head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from infoser.config import AlignConfig, AugmentConfig, ClassifyConfig, GenerateConfig
from infoser.sklearn.tables import Standardisation, settings_of
from infoser.variants import GENERATORS, VARIANTS

#: Parameters of the classifier that are settings of `ClassifyConfig`, under the same names.
SETTINGS = (
    "width",
    "steps",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "dropout",
    "input_dropout",
    "label_smoothing",
    "ema_decay",
)
#: Variants that need more than rows and labels: a teacher, whose heads are cross-fitted over speakers.
_TAUGHT = ("teacher", "diffusion-unconditional")
#: Settings of `GenerateConfig` that have a parameter of their own here, or are of what only the commands do with rows.
_ELSEWHERE = ("ratio", "row_weight")
_OF_COMMANDS = ("label_by", "keep_by", "keep_share", "fill", "curriculum")


class SpeechEmotionClassifier(ClassifierMixin, BaseEstimator):
    """The library's head, trained on real rows and on those that a variant adds.

    What `train.py` does in the encoder space for one fold and seed: features are standardised by the training rows; batches are
    class-balanced and, where rows are added, hold as many of those; weight decay grows as rows get fewer than 4,000; what
    predicts is the moving average of the parameters. `score` is the accuracy (WA); for the unweighted average recall (UA) score
    with "balanced_accuracy".

    Args:
      variant: what is trained on, as `--variants` of the commands: "none", "natural", "focal", "logit-adjust", "oversample",
        "noise", "mixup", "smote", "class-gaussian", "infogan-notext", "diffusion-notext", …, and with `text_columns` also
        "cgan", "infogan", "infogan-paired" and the others with text. "teacher" and "diffusion-unconditional" need the speakers,
        and are not to be had here.
      text_columns: how many of the last columns of X are text features; the others are audio. The head reads both.
      ratio: added rows for each real one.
      row_weight: weight of an added row in the loss, relative to a real one.
      width: width of the hidden layer.
      steps: training steps.
      batch_size: real rows in a batch, drawn with replacement; may exceed the rows of X.
      learning_rate: AdamW's at the start; it falls to 0 by a half cosine.
      weight_decay: AdamW's decoupled weight decay with 4,000 rows or more; with fewer, proportionally more.
      dropout, input_dropout: rates after the hidden layer, and on the features.
      label_smoothing: share of the target spread evenly over the classes.
      ema_decay: decay per step of the moving average.
      generate: settings of the generator by their names in `infoser.config.GenerateConfig`, such as {"steps": 300}; the others
        have their defaults.
      augment: settings of the controls by their names in `infoser.config.AugmentConfig`, such as {"noise_scale": 0.3}.
      align: settings of the aligner behind the variants that are made from text, as in `infoser.config.AlignConfig`.
      random_state: int, RandomState or None. The same int gives the same classifier on the same kind of machine.

    Attributes:
      classes_: (C,) the classes, sorted.
      losses_: by stage ("align", "generate", "classify"), for each loss term its means over every 100 steps.
      n_added_: how many rows were added to those of X.
      n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
      ValueError: (on fitting) for a setting out of bounds, NaN or infinite X, a single class, a variant that needs text without
        `text_columns`, or a loss that stops being finite.
      TypeError: (on fitting) for a setting of another type, or a sparse matrix.

    Examples:
      >>> import numpy as np
      >>> from infoser.sklearn import SpeechEmotionClassifier
      >>> rng = np.random.default_rng(0)
      >>> emotion = np.repeat(["angry", "neutral"], [15, 45])
      >>> X = rng.normal(size=(60, 3)) + 3 * (emotion == "angry")[:, None]
      >>> head = SpeechEmotionClassifier("noise", steps=30, width=16, random_state=0).fit(X, emotion)
      >>> head.predict([[3.0, 3.0, 3.0], [0.0, 0.0, 0.0]]).tolist()
      ['angry', 'neutral']
      >>> head.predict_proba(X).shape, head.n_added_
      ((60, 2), 60)
    """

    n_features_in_: int

    def __init__(
        self,
        variant: str = "none",
        *,
        text_columns: int = 0,
        ratio: float = GenerateConfig.ratio,
        row_weight: float = GenerateConfig.row_weight,
        width: int = ClassifyConfig.width,
        steps: int = ClassifyConfig.steps,
        batch_size: int = ClassifyConfig.batch_size,
        learning_rate: float = ClassifyConfig.learning_rate,
        weight_decay: float = ClassifyConfig.weight_decay,
        dropout: float = ClassifyConfig.dropout,
        input_dropout: float = ClassifyConfig.input_dropout,
        label_smoothing: float = ClassifyConfig.label_smoothing,
        ema_decay: float = ClassifyConfig.ema_decay,
        generate: Mapping[str, Any] | None = None,
        augment: Mapping[str, Any] | None = None,
        align: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.variant = variant
        self.text_columns = text_columns
        self.ratio = ratio
        self.row_weight = row_weight
        self.width = width
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.label_smoothing = label_smoothing
        self.ema_decay = ema_decay
        self.generate = generate
        self.augment = augment
        self.align = align
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> SpeechEmotionClassifier:
        """Trains what the variant needs, then the head.

        Args:
          X: (N, dim) array or data frame of finite numbers.
          y: (N,) classes.
        """
        settings = self._settings()
        X, y = validate_data(self, X, y, dtype="numeric", multi_output=True)
        if y.ndim == 2 and y.shape[1] > 1:
            raise ValueError("Multilabel and multioutput targets are not supported.")
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self._check_columns()
        classes, label = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y holds one class only, {classes.tolist()[0]!r}; a classifier needs two or more")
        from infoser.sklearn import chain

        standardisation = Standardisation.of(X)
        fitted = chain.fit(
            standardisation.apply(X),
            label,
            variant=self.variant,
            text_columns=self.text_columns,
            settings=settings,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
        )
        # Only now, so that a training that fails leaves what was fitted before, or nothing.
        self.classes_, self._standardisation = classes, standardisation
        self._head, self.losses_, self.n_added_ = fitted
        self._head_width = settings["classify"].width  # parameters may be set after fitting
        return self

    def predict_proba(self, X: Any) -> Float[np.ndarray, "rows classes"]:
        """p(class | features) of every row, its classes in the order of `classes_`.

        Raises:
          NotFittedError: before fitting.
        """
        check_is_fitted(self, "classes_")
        X = validate_data(self, X, reset=False, dtype="numeric")
        from infoser.sklearn import training

        features, n_classes = self._standardisation.apply(X), len(self.classes_)
        log = training.log_probabilities(self._head, features, width=self._head_width, n_classes=n_classes)
        probability = np.exp(log.astype(np.float64))
        return probability / probability.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """(rows,) the likeliest class of every row; the first one of equally likely ones.

        Raises:
          NotFittedError: before fitting.
        """
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def _settings(self) -> dict[str, Any]:
        """The settings of every stage, checked."""
        if self.variant in _TAUGHT or self.variant not in VARIANTS:
            known = ", ".join(one for one in VARIANTS if one not in _TAUGHT)
            why = "needs the speakers, and is not to be had here" if self.variant in _TAUGHT else "is no variant"
            raise ValueError(f"variant {self.variant!r} {why}; choose from {known}")
        generate = dict(self.generate or {})
        for name in _ELSEWHERE + _OF_COMMANDS:
            if name in generate:
                why = "is a parameter of its own" if name in _ELSEWHERE else "is a setting of train.py only"
                raise ValueError(f"generate[{name!r}]: {name} {why}")
        own = {name: getattr(self, name) for name in _ELSEWHERE}
        checked = settings_of(GenerateConfig, own)
        settings = settings_of(GenerateConfig, generate, "generate: ")
        if settings.batch_size % settings.pack:
            raise ValueError(f"generate: pack {settings.pack}: must divide batch_size {settings.batch_size}")
        align = settings_of(AlignConfig, self.align or {}, "align: ")
        if align.batch_size < 2:
            raise ValueError("align: batch_size must be at least 2: a pair needs another to be told from")
        return {
            "classify": settings_of(ClassifyConfig, {name: getattr(self, name) for name in SETTINGS}),
            "generate": settings,
            "augment": settings_of(AugmentConfig, self.augment or {}, "augment: "),
            "align": align,
            "ratio": checked.ratio,
            "row_weight": checked.row_weight,
        }

    def _check_columns(self) -> None:
        """Refuses a share of text columns that X has not, or the variant can't do without."""
        columns = self.text_columns
        if isinstance(columns, bool) or not isinstance(columns, (int, np.integer)):
            raise TypeError(f"text_columns {columns!r}: must be a number of columns")
        width: int = self.n_features_in_  # pyright: ignore[reportAttributeAccessIssue]
        if not 0 <= columns < width:
            raise ValueError(f"text_columns {columns}: of the {width} columns of X at least one must be audio; 0 without text")
        if not columns and self.variant in GENERATORS and GENERATORS[self.variant].needs_text:
            raise ValueError(
                f"variant {self.variant!r} needs text features: say by text_columns how many of the last columns are"
            )

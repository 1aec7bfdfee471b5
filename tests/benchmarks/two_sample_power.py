"""Which classifiers see which differences between two samples: held-out accuracy, on half of the rows, learned from the other.

    python tests/benchmarks/two_sample_power.py --rows 400 --dimensions 24 256

One line for each kind of difference, a column for each rule, the mean over draws; `chosen` is the test as infoser does it.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from infoser.metrics.two_sample import CLASSIFIERS, classifier_two_sample_test

SQUARES = FunctionTransformer(lambda x: np.hstack([x, x**2 - 1]))
RULES = {
    **CLASSIFIERS,
    "logistic": lambda: LogisticRegression(C=0.01, max_iter=200),
    "with squares": lambda: make_pipeline(SQUARES, LogisticRegression(C=0.1, max_iter=200)),
    "perceptron": lambda: MLPClassifier((64,), alpha=0.01, early_stopping=True, max_iter=60, random_state=0),
    "neighbours": lambda: KNeighborsClassifier(15),
    "boosted trees": lambda: HistGradientBoostingClassifier(max_iter=40, random_state=0),
}
KINDS = ("none", "mean", "spread", "correlations", "axes", "tails", "clusters")


def samples(kind: str, rng: np.random.Generator, rows: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Real rows, and rows that differ from them in one way."""
    fixed = np.random.default_rng(5)
    mixing = 0.5 * np.eye(dim) + fixed.standard_normal((dim, dim)) / np.sqrt(dim)
    real, made = (rng.standard_normal((rows, dim)) @ mixing for _ in range(2))
    if kind == "mean":
        made = made + 0.25 * real.std(axis=0) * (np.arange(dim) % 3 == 0)
    elif kind == "spread":
        made = 0.9 * made
    elif kind == "correlations":
        made = rng.standard_normal((rows, dim)) * real.std(axis=0)
    elif kind == "axes":
        axes = np.linalg.svd(mixing)[2].T
        made = (made @ axes * np.where(np.arange(dim) < dim // 2, 1.0, 0.6)) @ axes.T
    elif kind == "tails":
        made = made * np.sqrt(rng.gamma(4, 1 / 4, (rows, 1)))
    elif kind == "clusters":
        centre = fixed.standard_normal((6, dim))
        real = centre[rng.integers(6, size=rows)] + 0.7 * rng.standard_normal((rows, dim))
        covariance = np.cov(centre.T, bias=True) + 0.49 * np.eye(dim)
        made = centre.mean(axis=0) + rng.standard_normal((rows, dim)) @ np.linalg.cholesky(covariance).T
    return real, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400, help="of each sample")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[24, 256])
    parser.add_argument("--draws", type=int, default=4)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of fits that stop early
    half = arguments.rows // 2
    for dim in arguments.dimensions:
        seconds = dict.fromkeys([*RULES, "chosen"], 0.0)
        print(f"\n{arguments.rows} rows, {dim} dimensions\n{'':>14}", *[f"{name:>15}" for name in seconds])
        for kind in KINDS:
            accuracy = {name: [] for name in seconds}
            for draw in range(arguments.draws):
                real, made = samples(kind, np.random.default_rng(draw), arguments.rows, dim)
                label = np.repeat([False, True], half)
                learned = StandardScaler().fit(np.concatenate([real[:half], made[:half]]))
                x, held_out = (learned.transform(np.concatenate(rows)) for rows in zip(*(
                    (part[:half], part[half : 2 * half]) for part in (real, made)), strict=True))  # fmt: skip
                for name, make in RULES.items():
                    start = time.perf_counter()
                    rule = make()
                    rule.fit(x, label)
                    accuracy[name].append((rule.predict(held_out) == label).mean())
                    seconds[name] += time.perf_counter() - start
                start = time.perf_counter()
                accuracy["chosen"].append(classifier_two_sample_test(real, made, seeds=(draw,)).accuracy)
                seconds["chosen"] += time.perf_counter() - start
            print(f"{kind:>14}", *[f"{np.mean(values):15.3f}" for values in accuracy.values()], flush=True)
        fits = len(KINDS) * arguments.draws
        print(f"{'s each':>14}", *[f"{total / fits:15.3f}" for total in seconds.values()])


if __name__ == "__main__":
    main()

"""How often `--select dev` takes another candidate than the first where all are as good: `python tests/battery/choice_rule.py`.

Dev UA of each candidate on each dev part is drawn around the same mean. What parts have in common (some are harder) cancels in
the differences; what candidates have in common with the first makes these smaller and leaves the rule's rates as they are.
"""

import numpy as np

from infoser.choosing import best_of, gain_over

DRAWS = 20_000


def rate(candidates: int, parts: int, rng: np.random.Generator) -> float:
    """Share of draws in which the first of `candidates` equals is not taken."""
    other = 0
    for _ in range(DRAWS):
        ua = 0.6 + 0.02 * rng.standard_normal((candidates, parts))
        gains = [gain_over(own.tolist(), ua[0].tolist()) for own in ua]
        other += best_of(ua.mean(axis=1).tolist(), gains) != 0
    return other / DRAWS


def main() -> None:
    """Prints the rates for lists of 2 to 7 candidates and 2 to 5 dev parts."""
    rng = np.random.default_rng(0)
    print(f"share of {DRAWS:,} draws in which one of several equal candidates is taken instead of the first (seed 0)")
    print("candidates  " + "  ".join(f"{parts} parts" for parts in (2, 3, 4, 5)))
    for candidates in (2, 3, 5, 7):
        print(f"{candidates:10d}  " + "  ".join(f"{rate(candidates, parts, rng):7.2f}" for parts in (2, 3, 4, 5)), flush=True)


if __name__ == "__main__":
    main()

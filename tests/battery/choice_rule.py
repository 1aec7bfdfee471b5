"""How often `--select dev` takes another candidate where all are as good: `python tests/battery/choice_rule.py`.

Dev UA of each candidate on each dev part is drawn around the same mean. What parts have in common (some are harder) cancels in
the differences; what candidates have in common with the first makes these smaller and leaves the rule's rates as they are.
"""

import numpy as np

from infoser.candidates import CANDIDATES, NONE_CANDIDATES
from infoser.choosing import stepwise

DRAWS = 20_000


def rates(plain: list[bool], parts: int, rng: np.random.Generator) -> tuple[float, float]:
    """Shares of draws in which another than the first of equal candidates is taken, and one that is no plain head."""
    other = added = 0
    for _ in range(DRAWS):
        ua = 0.6 + 0.02 * rng.standard_normal((len(plain), parts))
        taken, *_ = stepwise(ua.mean(axis=1).tolist(), ua.tolist(), plain)
        other += taken != 0
        added += not plain[taken]
    return other / DRAWS, added / DRAWS


def main() -> None:
    """Prints the rates for lists of 2 to 7 heads and for the committed one, and 2 to 5 dev parts."""
    rng = np.random.default_rng(0)
    lists = {f"{size} heads": [True] * size for size in (2, 3, 5, 7)} | {
        f"the committed {len(CANDIDATES)}": [one in NONE_CANDIDATES for one in CANDIDATES]
    }
    print(
        f"share of {DRAWS:,} draws in which another of equal candidates is taken than the first (what adds something; seed 0)"
    )
    print(f"{'':16}" + "".join(f"{parts} parts".rjust(14) for parts in (2, 3, 4, 5)))
    for name, plain in lists.items():
        found = [rates(plain, parts, rng) for parts in (2, 3, 4, 5)]
        print(f"{name:16}" + "".join(f"{other:.2f} ({added:.2f})".rjust(14) for other, added in found), flush=True)


if __name__ == "__main__":
    main()

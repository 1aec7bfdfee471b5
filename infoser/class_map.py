"""From emotion codes to classes: which emotion counts as which class, and which are left unlabelled."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from infoser.corpus import UNLABELLED
from infoser.errors import InfoserError


def parse_class_map(classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """{class: emotion codes} from `class=code,code…` items, in their order; InfoserError says which item is wrong."""
    class_map: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for item in classes:
        name, equals, members = item.partition("=")
        codes = tuple(members.split(","))
        if not equals or not name or not all(codes):
            raise InfoserError(f"class {item!r}: expected class=code,code… such as hap=hap,exc")
        if name in class_map:
            raise InfoserError(f"class {name!r} is given twice; list all its codes once: {name}=code,code")
        for code in codes:
            if code in owner:
                raise InfoserError(f"emotion {code!r} is in class {owner[code]!r} and again in {name!r}")
            owner[code] = name
        class_map[name] = codes
    return class_map


def map_labels(codes: np.ndarray, class_map: Mapping[str, tuple[str, ...]], where: str) -> np.ndarray:
    """(N,) int32 class indices of (N,) emotion codes; −1 for codes outside the classes.

    Args:
      codes: emotion codes, '' for none.
      class_map: {class: emotion codes}.
      where: what holds the codes, for messages: "array 'emotion'".

    Raises:
      InfoserError: for a class without an utterance, or a class name that can't be written down.
    """
    counts = Counter(codes.tolist())
    occurring = ", ".join(f"{code} {count}" for code, count in sorted(counts.items()) if code) or "none at all"
    label = np.full(len(codes), UNLABELLED, np.int32)
    if not class_map:
        raise InfoserError(f"{where} labels no utterance")
    for index, (name, members) in enumerate(class_map.items()):
        if name != name.strip() or set("\r\n") & set(name):
            raise InfoserError(f"class name {name!r} has spaces or line breaks around it; name it with --classes")
        absent = [code for code in members if code not in counts]
        if absent:
            raise InfoserError(
                f"class {name!r} would have no utterance for {absent[0]!r}: {where} never says it; it says: {occurring}. "
                "Choose the classes with --classes class=code,code"
            )
        label[np.isin(codes, members)] = index
    return label


def count_unlabelled(codes: np.ndarray, label: np.ndarray) -> dict[str, int]:
    """How many utterances of each emotion are outside the classes."""
    return dict(sorted(Counter(codes[label == UNLABELLED].tolist()).items()))

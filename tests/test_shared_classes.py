"""Which classes two corpora share, which rows that leaves out, and which maps are refused."""

import numpy as np
import pytest

from infoser.corpus import Corpus
from infoser.errors import InfoserError
from infoser.shared_classes import share_classes


def corpus(label: list[int], classes: tuple[str, ...]) -> Corpus:
    n = len(label)
    ids = np.array([f"u{row}" for row in range(n)])
    return Corpus("other", ids, np.ones((n, 2), np.float32), None, np.array(label, np.int32), classes, ids)


OTHER = corpus([0, 1, 1, 2, 3, -1, 2, 0], ("joy", "anger", "amusement", "calm"))
OWN = ("ang", "hap", "neu", "calm")


def test_a_map_joins_classes_and_says_what_is_left_out():
    shared = share_classes(OWN, OTHER, ["hap=joy,amusement", "ang=anger"], "--classes")
    assert shared.classes == ("ang", "hap")  # in the order of the own classes, not of the map
    assert shared.label.tolist() == [1, 0, 0, 1, -1, -1, 1, 1]
    assert shared.counts == {"ang": 2, "hap": 4}
    assert shared.left_out == {"": 1, "calm": 1}
    assert shared.missing == ("neu", "calm")
    notes = shared.notes("mine", "other")
    assert notes == [
        "rows of other outside the shared classes: 1 without a label, 1 calm",
        "classes of mine without a counterpart in other: neu, calm; what is one class under two names has to be named in a "
        "class map",
    ]


def test_without_a_map_classes_of_one_name_are_shared():
    shared = share_classes(("calm", "fear", "anger"), OTHER, [], "--classes")
    assert shared.members == {"calm": ("calm",), "anger": ("anger",)}
    assert shared.label.tolist() == [-1, 2, 2, -1, 0, -1, -1, -1]


def test_a_class_that_only_the_names_share_is_not_shared():
    empty = corpus([0, 0, 1, 1], ("calm", "anger", "joy"))
    assert share_classes(("joy", "anger", "calm"), empty, [], "--classes").classes == ("anger", "calm")


@pytest.mark.parametrize("items", [["ang=anger hap=joy,amusement"], ["ang=anger", "hap=joy,amusement"]])
def test_a_map_in_one_quoted_word_is_taken_apart(items):
    assert share_classes(OWN, OTHER, items, "--classes").members == {"ang": ("anger",), "hap": ("joy", "amusement")}


def test_a_class_name_may_have_spaces_where_its_item_stands_alone():
    shared = share_classes(("very happy", "anger"), OTHER, ["very happy=joy,amusement", "anger=anger"], "--classes")
    assert shared.members == {"very happy": ("joy", "amusement"), "anger": ("anger",)}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "only the class 'calm' is shared"),
        (["ang=anger"], "only the class 'ang' is shared"),
        (["ang=anger", "hap=sunny"], "corpus 'other' never says it"),
        (
            ["anger=anger", "hap=joy"],
            "--map anger=…: there is no class 'anger' to begin with; the classes are ang, hap, neu, calm",
        ),
        (["ang=anger", "hap=anger"], "emotion 'anger' is in class 'ang' and again in 'hap'"),
        (["ang"], "expected class=code,code"),
    ],
)
def test_maps_that_share_too_little_or_name_what_is_not_there(items, said):
    with pytest.raises(InfoserError, match=said.replace("(", r"\(")):
        share_classes(OWN, OTHER, items, "--map")


def test_no_class_in_common():
    with pytest.raises(InfoserError, match="no class is shared: the classes here are a, b, and those of corpus 'other' joy"):
        share_classes(("a", "b"), OTHER, [], "--classes")

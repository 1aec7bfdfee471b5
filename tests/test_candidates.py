"""What is chosen among: the committed lists, those of the command line, and what a corpus can't have."""

import pytest

from infoser import presets
from infoser.candidates import CANDIDATES, NONE_CANDIDATES, Selection, selections
from infoser.errors import InfoserError
from infoser.overrides import SETTINGS, overrides_of
from infoser.variants import GENERATORS


def asked(*flags: str, has_text: bool = True) -> tuple[tuple[Selection, ...], tuple[str, ...]]:
    return selections(presets.parse(["corpus", "--data.name", "x", "--select", "dev", *flags]), has_text=has_text)


def test_the_committed_lists_are_equally_long_and_all_of_it_can_be_had() -> None:
    assert len(CANDIDATES) == len(NONE_CANDIDATES)
    (found,), notes = asked()
    assert notes == () and found.cell == "select=dev" and found.label_fraction == 1
    selected, none = found.lists["selected"], found.lists["none"]
    assert len(set(selected)) == len(CANDIDATES) and len(set(none)) == len(NONE_CANDIDATES)
    # Each list begins with the plain default, and none's are heads and nothing else.
    assert selected[0] == none[0] == ("", "none")
    # What selected adds nothing to are heads that none has too.
    plain = [(cell, variant) for cell, variant in selected if variant == "none" and "joined" not in cell]
    assert len(plain) == 4 and plain == [arm for arm in selected if arm in none]
    assert {variant for _, variant in none} == {"none"}
    assert all(key.startswith("classify.") for cell, _ in none for key in overrides_of(cell))


def test_the_committed_list_varies_what_it_should() -> None:
    told = {word.partition("=")[0] for text in CANDIDATES for word in text.split()[1:]}
    assert {"generate.ratio", "generate.row-weight", "generate.keep-by", "space"} <= told <= set(SETTINGS)
    assert any("mi-weight" in key for key in told) and any(key.startswith("classify.") for key in told)
    assert {text.split()[0] for text in CANDIDATES} >= {"none", "teacher", "infogan-notext"}


def test_without_text_both_lists_are_shorter_and_it_is_said() -> None:
    (found,), notes = asked(has_text=False)
    selected = found.lists["selected"]
    assert 2 < len(selected) < len(CANDIDATES) and len(found.lists["none"]) == len(selected)
    assert found.lists["none"][0] == ("", "none")
    assert not any("joined" in cell or (v in GENERATORS and GENERATORS[v].needs_text) for cell, v in selected)
    lost = len(CANDIDATES) - len(selected)
    assert notes[0].startswith(f"--candidates: {lost} of {len(CANDIDATES)} left out, the corpus has no text features here: ")
    # Nor is there a modality to be made the other's equal.
    assert not any("scaling" in cell for arms in found.lists.values() for cell, _ in arms)
    equal = sum("scaling" in text for text in NONE_CANDIDATES)
    assert notes[1].startswith(
        f"--none-candidates: {equal} of {len(NONE_CANDIDATES)} left out, the corpus has no text features"
    )
    assert notes[2].startswith(f"--none-candidates: the last {lost - equal} left out, so that both lists are as long: ")


def test_candidates_are_chosen_among_at_every_label_fraction_and_in_no_other_cell() -> None:
    flags = ("--candidates", "none", "noise generate.ratio=2", "--none-candidates", "none", "none classify.dropout=0.7")
    found, _ = asked(*flags, "--ablate", "ratio", "label_fraction", "--variants", "none", "noise", "--joined-variants", "none")
    assert [(one.cell, one.label_fraction) for one in found] == [
        ("select=dev", 1.0),
        *((f"label-fraction={fraction:g} select=dev", fraction) for fraction in (0.25, 0.1, 0.05)),
    ]
    assert found[2].lists == {
        "selected": (("label-fraction=0.1", "none"), ("generate.ratio=2 label-fraction=0.1", "noise")),
        "none": (("label-fraction=0.1", "none"), ("classify.dropout=0.7 label-fraction=0.1", "none")),
    }
    assert found[2].arms == (*found[2].lists["selected"], found[2].lists["none"][1])


def test_beside_a_base_cell_that_is_called_by_its_space_every_cell_names_it() -> None:
    (found,), notes = asked("--space", "joined")
    assert found.cell == "select=dev space=joined"
    assert found.lists["none"][4] == ("classify.weight-decay=3 space=joined", "none")
    # What differs from others in the space alone is not compared twice, and the other list is as short.
    assert "1 of 7 left out, the same as one before, here: none classify.dropout=0.2" in notes[0]
    assert len(found.lists["selected"]) == len(found.lists["none"]) == 6


def test_what_changes_nothing_is_no_other_candidate() -> None:
    flags = ("--candidates", "none", "none generate.ratio=2", "noise generate.ratio=1", "noise", "--none-candidates", "none")
    (found,), notes = asked(*flags, "none classify.dropout=0.1", "none classify.dropout=0.10")
    assert found.lists["selected"] == (("", "none"), ("", "noise"))
    assert notes[0] == "--candidates: 2 of 4 left out, the same as one before, here: none generate.ratio=2, noise"
    assert notes[1].startswith("--none-candidates: 1 of 3 left out, the same as one before")


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--candidates", "none"), "there is nothing to choose: --candidates has 1 that differ here; --none-candidates has 7"),
        (("--candidates", "none", "nose"), '--candidates "nose" names no variant'),
        (("--candidates", "none", ""), '--candidates "" names no variant'),
        (("--candidates", "none", "noise generate.ratio"), "'generate.ratio' is no setting; write it as key=value"),
        (("--candidates", "none", "noise generate.ration=2"), "--candidates generate.ration: there is no such setting"),
        (("--candidates", "none", "noise generate.ratio=big"), "--candidates generate.ratio=big: 'big' is not a number"),
        (("--candidates", "none", "noise generate.ratio=0"), "--generate.ratio"),
        (("--candidates", "none", "noise seeds=1"), "--candidates seeds: can't be varied"),
        (("--candidates", "none", "noise label-fraction=0.5"), "all candidates are trained at the same label-fraction"),
        (("--candidates", "none", "noise select=dev"), "all candidates are trained at the same select"),
        (("--none-candidates", "none", "noise"), '--none-candidates "noise": none is chosen among its own heads'),
        (("--budget", "1h"), "--budget can't tell what --select dev is going to choose"),
        (("--final",), "--final refits one variant on all utterances"),
        (("--grid", "select=dev,off"), "--grid select: can't be varied"),
        (("--grid", "candidates=none"), "--grid candidates: can't be varied"),
    ],
)
def test_mistakes_are_refused_before_anything_else(flags: tuple[str, ...], said: str) -> None:
    with pytest.raises(InfoserError) as error:
        asked(*flags)
    assert said in str(error.value)


@pytest.mark.parametrize("flag", ["--candidates", "--none-candidates"])
def test_candidates_of_no_selection_are_refused(flag: str) -> None:
    with pytest.raises(InfoserError, match="give --select dev too"):
        presets.parse(["corpus", "--data.name", "x", flag, "none", "none classify.dropout=0"])


def test_the_primary_family_is_selected_at_all_labels_and_a_tenth() -> None:
    from infoser.cells import primary_of, sweep

    config = presets.parse(["corpus", "--data.name", "x", "--select", "dev", "--ablate", "label_fraction"])
    assert primary_of(config) == "selected"
    arms = (("select=dev", "selected"), ("label-fraction=0.1 select=dev", "selected"))
    assert sweep(config).sets["selected"] == arms
    config = presets.parse(["corpus", "--data.name", "x", "--select", "dev", "--label-fraction", "0.3"])
    assert sweep(config).sets["selected"] == () and "this run has neither" in sweep(config).notes[-1]
    assert primary_of(presets.parse(["corpus", "--data.name", "x"])) == "all"
    assert primary_of(presets.parse(["corpus", "--data.name", "x", "--select", "dev", "--primary", "all"])) == "all"
    with pytest.raises(InfoserError, match="--primary selected: the families"):
        presets.parse(["corpus", "--data.name", "x", "--primary", "selected"])

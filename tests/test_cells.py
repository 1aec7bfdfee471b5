"""Which cells an experiment has, and which variants are trained in each."""

import pytest

from infoser import presets
from infoser.ablations import NAMES
from infoser.arms import branches
from infoser.cells import Sweep, check_primary, sweep
from infoser.concerns import concerns
from infoser.config import Config, Data
from infoser.errors import InfoserError
from infoser.overrides import SETTINGS, overrides_of
from infoser.variants import GENERATORS, VARIANTS


def cells(*flags: str, has_text: bool = True) -> Sweep:
    return sweep(presets.parse(["corpus", "--data.name", "x", *flags]), has_text=has_text)


def variants(found: Sweep) -> dict[str, tuple[str, ...]]:
    return {cell.name: cell.variants for cell in found.cells}


def test_a_plain_experiment_is_one_cell() -> None:
    found = cells("--variants", "none", "noise")
    assert variants(found) == {"": ("none", "noise")}
    assert found.sets == {} and found.notes == ()


def test_a_cell_trains_what_its_settings_can_change() -> None:
    found = cells("--variants", "none", "noise", "smote", "cgan", "infogan", "infogan-notext", "--ablate", "ratio")
    added = ("noise", "smote", "cgan", "infogan", "infogan-notext")
    assert variants(found) == {"": ("none", *added)} | {f"generate.ratio={one}": added for one in ("0.1", "0.25", "0.5", "2")}
    # The base configuration's own ratio is one of those compared.
    assert set(found.sets["ratio"]) == {(name, one) for name in variants(found) for one in added}
    grid = ("generate.text-mi-weight=0,0.1", "generate.class-mi-weight=0", "classify.dropout=0.1")
    of = {
        one: variants(cells("--variants", "none", "noise", "cgan", "infogan-notext", "infogan", "--grid", one)) for one in grid
    }
    assert of[grid[0]]["generate.text-mi-weight=0"] == ("infogan",)
    assert of[grid[1]]["generate.class-mi-weight=0"] == ("infogan-notext", "infogan")
    assert of[grid[2]]["classify.dropout=0.1"] == ("none", "noise", "cgan", "infogan-notext", "infogan")


def test_nothing_is_trained_under_two_names() -> None:
    flags = ("--grid", "generate.ratio=0.5,1", "--grid", "generate.text-mi-weight=0,0.1", "--grid", "label-fraction=0.1,1")
    found = variants(cells("--variants", "none", "noise", "infogan", *flags))
    assert found == {
        "": ("none", "noise", "infogan"),
        "generate.ratio=0.5": ("noise", "infogan"),
        "generate.text-mi-weight=0": ("infogan",),
        "generate.ratio=0.5 generate.text-mi-weight=0": ("infogan",),
        # Each has what it is compared with.
        "label-fraction=0.1": ("none", "noise", "infogan"),
        "generate.ratio=0.5 label-fraction=0.1": ("none", "noise", "infogan"),
        "generate.text-mi-weight=0 label-fraction=0.1": ("none", "infogan"),
        "generate.ratio=0.5 generate.text-mi-weight=0 label-fraction=0.1": ("none", "infogan"),
    }


def test_grids_multiply_and_join_ablations() -> None:
    grid = ("--grid", "generate.ratio=0.5,1", "--grid", "generate.row-weight=0.3,1,2")
    found = variants(cells("--variants", "none", "noise", *grid))
    both = {f"generate.ratio=0.5 generate.row-weight={one}" for one in (1, 2)}
    assert set(found) == {"", "generate.ratio=0.5", "generate.row-weight=1", "generate.row-weight=2"} | both
    joined = variants(cells("--variants", "none", "noise", "--ablate", "ratio", *grid))
    assert set(joined) == set(found) | {f"generate.ratio={one}" for one in (0.1, 0.25, 2)}


@pytest.mark.parametrize("name", NAMES)
def test_every_ablation_compares_something(name: str) -> None:
    for has_text in (True, False):
        base = ("none",) if has_text else ("none", "noise")
        found = cells("--variants", *base, "--ablate", name, has_text=has_text)
        assert len(found.sets[name]) >= (3 if has_text else 1)
        assert set(found.sets[name]) <= set(found.arms)
        if not has_text:
            assert not [one for _, one in found.arms if one in GENERATORS and GENERATORS[one].needs_text]
            assert not [cell for cell, _ in found.arms if "joined" in cell]


def test_estimators_are_compared_term_by_term() -> None:
    found = cells("--variants", "none", "infogan", "infogan-paired", "--ablate", "estimator")
    others = ("infonce", "nwj", "dv", "mine", "jsd", "smile", "club")
    expected = {f"generate.{term}-mi-estimator={one}" for term in ("class", "text") for one in others}
    expected |= {f"generate.pair-mi-estimator={one}" for one in ("barber-agakov", *others) if one != "jsd"}
    assert {cell.name for cell in found.cells} - {""} == expected
    by_name = {cell.name: cell.variants for cell in found.cells}
    assert by_name["generate.text-mi-estimator=nwj"] == ("infogan",)
    assert by_name["generate.class-mi-estimator=nwj"] == ("infogan", "infogan-paired")


def test_what_is_added_and_left_out_is_said() -> None:
    (added,) = cells("--variants", "none", "--ablate", "adversarial").notes
    assert added == "--ablate adversarial: infogan added to the variants, none of which it could change"
    (left_out,) = cells("--variants", "none", "infogan", "--ablate", "mutual_information").notes
    assert left_out == (
        "--ablate mutual_information: 2 cells left out, none of the variants reads them: generate.pair-mi-weight=0; "
        "generate.pair-mi-estimator=barber-agakov"
    )
    (diffusion,) = cells("--variants", "none", "diffusion", "--grid", "generate.keep-by=teacher,consensus").notes
    assert diffusion == "--grid: diffusion left out of cell generate.keep-by=consensus, whose settings it can't follow"


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--variants", "none", "--grid", "generate.ratio=0.5"), "none of the variants reads it here (none)"),
        (("--grid", "generate.ratio=-1"), "cell generate.ratio=-1: --generate.ratio -1: must lie in (0, inf)"),
        (("--grid", "generate.pack=3"), "cell generate.pack=3: --generate.pack 3: must divide"),
        (("--ablate", "ratio", "ratio"), "--ablate names ratio more than once"),
        (("--ablate",), "--ablate needs at least one name: mutual_information, "),
        (("--primary", "ratio"), "the families of this experiment are all"),
        (("--budget", "soon"), "give a time such as 2h"),
        (("--budget", "0s"), "give a time such as 2h"),
        (("--grid", *[f"generate.width={','.join(map(str, range(1, 2100)))}"]), "at most 2,000 are trained"),
    ],
)
def test_mistakes_are_refused_before_anything_else(flags: tuple[str, ...], said: str) -> None:
    with pytest.raises(InfoserError) as error:
        cells(*flags)
    assert said in str(error.value)


def test_a_primary_family_is_an_ablation_or_the_grid() -> None:
    found = cells("--ablate", "ratio", "--grid", "generate.row-weight=1")
    for name in ("", "all", "ratio", "grid"):
        check_primary(found, Config(Data("x"), primary=name))
    with pytest.raises(InfoserError, match="are all, ratio, grid"):
        check_primary(found, Config(Data("x"), primary="filter"))


def test_cells_that_share_views_are_one_branch() -> None:
    flags = ("--variants", "none", "infogan", "--ablate", "ratio", "label_fraction", "--grid", "align.mi-weight=0")
    found = branches(cells(*flags, "--aligned-variants", "none").cells)
    names = [branch.name for branch in found]
    assert names == [
        "",
        "space=aligned",
        "label-fraction=0.25",
        "label-fraction=0.1",
        "label-fraction=0.05",
        "align.mi-weight=0",
    ]
    assert [branch.folder for branch in found][:3] == ["encoder", "aligned", "encoder-label-fraction=0.25"]
    assert [arm.name for arm in found[0].arms][:4] == [
        "none",
        "infogan",
        "infogan generate.ratio=0.1",
        "infogan generate.ratio=0.25",
    ]
    assert {arm.config.label_fraction for arm in found[3].arms} == {0.1} == {found[3].config.label_fraction}


def test_another_base_space_names_itself() -> None:
    found = cells("--space", "aligned", "--variants", "none", "noise", "--ablate", "ratio", "--grid", "space=encoder")
    assert [cell.name for cell in found.cells][:2] == ["space=aligned", "generate.ratio=0.1 space=aligned"]
    assert [cell.name for cell in found.cells][-1] == "space=encoder"
    assert {branch.name: len(branch.arms) for branch in branches(found.cells)} == {"space=aligned": 6, "space=encoder": 2}
    assert all(overrides_of(cell.name).get("space", "aligned") == cell.config.space for cell in found.cells)


def test_every_setting_concerns_somebody() -> None:
    config = Config(data=Data("x"))
    for key in SETTINGS:
        answers = {variant: concerns(key, variant, config) for variant in VARIANTS}
        assert not (answers["none"] and key.startswith(("generate.", "augment.", "align.")))
        idle = ("generate.keep-share", "generate.r1-weight", "generate.auxiliary-weight")
        in_effect = key not in (*idle, "align.class-weight", "align.cross-fits", "align.joined-weight")
        assert any(answers.values()) == in_effect, key

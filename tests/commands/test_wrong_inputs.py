"""Flags that can't be used end in one message and write nothing; flags that can be used are taken as they are said."""

import dataclasses
import math
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from hypothesis import strategies as st
from wrong_inputs import AT_LEAST, for_every, one_of, refusal, snapshot

from infoser.config import AlignConfig, Config, GenerateConfig, Hosts
from infoser.errors import InfoserError
from infoser.presets import parse
from infoser.saved_config import from_json, to_json

LARGEST_INTEGER, LARGEST_FLOAT = 2**31 - 1, 3e38
NO_NUMBER = ("", " ", "one", "1,5", "0x10", "1e", "1..0", "½", "1/2", "--", "None", "True", "[1]")
WORDS = st.text(string.ascii_lowercase, min_size=1, max_size=8)
LONG = "a" * 300  # longer than the name of a file may be


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting and its flag."""

    flag: str
    path: tuple[str, ...]
    entry: Any

    def of(self, config: Config) -> Any:
        value: Any = config
        for name in self.path:
            value = getattr(value, name)
        return value


def _settings(kind: Any, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    for entry in dataclasses.fields(kind):
        inner = (*path, entry.name)
        if entry.type is Hosts:  # not saved, and three of its flags belong together: see test_hosts.py
            continue
        if dataclasses.is_dataclass(entry.type):
            yield from _settings(entry.type, inner)
        else:
            yield Setting("--" + ".".join(inner).replace("_", "-"), inner, entry)


SETTINGS = {setting.flag: setting for setting in _settings(Config)}
FLOATS = [one for one in SETTINGS.values() if one.entry.type is float]
INTEGERS = [one for one in SETTINGS.values() if one.entry.type is int]
SWITCHES = [one.flag for one in SETTINGS.values() if one.entry.type is bool]
CHOICES = {one.flag: get_args(one.entry.type) for one in SETTINGS.values() if get_origin(one.entry.type) is Literal}
LISTS = {one.flag: get_args(one.entry.type)[0] for one in SETTINGS.values() if get_origin(one.entry.type) is tuple}
NUMBERS = FLOATS + INTEGERS
AT_LEAST_TWO = ("--align.batch-size", "--align.cross-fits", "--augment.teacher-parts")
AT_MOST = {"--virtual-shards": 2**15}
#: Distinct wrong inputs that the tests here give at least, for each number and of each kind.
OF_EACH_NUMBER = 3
NEEDED = {"choices": 20, "seeds": 18, "lists": 12, "repeated": 15, "unreadable": 20, "places": 18, "corpora": 8}
NEEDED |= {"eval.py": 15, "prepare.py": 35}
VALUED = sorted(set(SETTINGS) - set(SWITCHES) - set(LISTS))


def test_every_setting_is_looked_at() -> None:
    assert {"--align.learning-rate", "--label-fraction", "--checkpoint-every-s"} <= {one.flag for one in FLOATS}
    assert {"--chunk-steps", "--generate.pool-limit"} <= {one.flag for one in INTEGERS}
    fields = dataclasses.fields(AlignConfig)
    assert {f"--align.{one.name.replace('_', '-')}" for one in fields} <= set(SETTINGS) and len(NUMBERS) > 35
    assert {"--protocol", "--space", "--final-variant"} <= set(CHOICES) and {"--seeds", "--folds"} <= set(LISTS)
    assert {"--final", "--keep-partner", "--data.text"} <= set(SWITCHES)


def wrong_float(bounds: Any) -> st.SearchStrategy[str]:
    """Not numbers; not finite; beyond the bounds, or so close to one that float32 can't tell them apart."""
    low, high = bounds["low"], bounds["high"]
    values = [math.nan, math.inf, -math.inf, 1e39, -1e39, 1e308, math.nextafter(low, -math.inf)]
    values += [low, 1e-46] if bounds["low_open"] else []
    if math.isfinite(high):
        values += [high + 1, math.nextafter(high, math.inf)] + ([high, high - 1e-12] if bounds["high_open"] else [])
    below = st.floats(max_value=low, exclude_max=True, allow_infinity=False)
    return st.one_of(one_of(values), below).map(repr) | one_of(NO_NUMBER)


def wrong_integer(flag: str) -> st.SearchStrategy[str]:
    least = 2 if flag in AT_LEAST_TWO else 1
    values = st.integers(max_value=least - 1) | st.integers(min_value=LARGEST_INTEGER + 1) | one_of([10**400, 0, -1])
    return values.map(str) | st.floats().map(repr) | one_of(NO_NUMBER)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a file, an empty folder and a folder of foreign files."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("mine too")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refuses(place: Path) -> Any:
    """refuses(command): a check that the command refuses arguments and leaves the working folder as it was."""
    before = snapshot(place)

    def of(command: Any) -> Any:
        def check(argv: tuple[object, ...]) -> None:
            refusal(command(*argv))
            assert snapshot(place) == before

        return check

    return of


def spelt(flag: str, value: str) -> st.SearchStrategy[tuple[str, ...]]:
    """A flag and its value as one argument or as two, with hyphens or underlines."""
    other = "--" + flag.removeprefix("--").replace("-", "_")
    return one_of([(flag, value), (f"{flag}={value}",), (other, value), (f"{other}={value}",)])


def test_numbers_that_no_run_could_use(refuses: Any, run_train: Any) -> None:
    for setting in NUMBERS:
        values = wrong_float(setting.entry.metadata) if setting in FLOATS else wrong_integer(setting.flag)
        cases = values.flatmap(lambda value, flag=setting.flag: spelt(flag, value))
        for_every(cases.map(lambda flags: ("demo", *flags)), refuses(run_train), examples=4, at_least=OF_EACH_NUMBER)


WRONG_CHOICES = st.one_of(
    one_of(sorted(CHOICES)).flatmap(lambda flag: st.tuples(st.just(flag), WORDS.filter(lambda w: w not in CHOICES[flag]))),
    st.tuples(one_of(["--variants", "--aligned-variants"]), st.just("none"), WORDS),
    st.tuples(st.just("--folds"), WORDS),
)
WRONG_SEEDS = st.one_of(
    st.integers(max_value=-1).map(lambda seed: ("--seeds", "0", seed)),
    st.integers(min_value=LARGEST_INTEGER + 1).map(lambda seed: ("--seeds", seed)),
    st.integers(0, LARGEST_INTEGER).map(lambda seed: ("--seeds", seed, "7", seed)),
    one_of(NO_NUMBER + ("2.5", "nan", "1e3")).map(lambda seed: ("--seeds", seed)),
)
WRONG_LISTS = one_of(
    [
        ("--seeds",),
        ("--variants",),
        ("--variants", "noise", "none", "noise"),
        ("--aligned-variants", "none", "none"),
        ("--folds", "session1", "session3", "session1"),
        ("--space", "aligned"),
        ("--keep-partner", "--protocol", "session"),
        ("--keep-partner",),  # the demo has sessions
        ("--final-variant", "noise"),
        ("--protocol", "official"),
        ("--final", "--final-variant", "cgan", "--data.no-text", "--aligned-variants", "--variants", "none"),
        ("--data.no-text",),
        ("--variants", "infogan-paired", "--data.no-text"),
        ("--parallel", "data", "--classify.batch-size", "1"),
    ]
)
REPEATED = st.one_of(
    one_of(SWITCHES).map(lambda flag: (flag, flag)),
    one_of(SWITCHES).map(lambda flag: (flag, f"{flag[: flag.rfind('.') + 1] or '--'}no-{flag.rpartition('.')[2].lstrip('-')}")),
    st.tuples(one_of([one.flag for one in NUMBERS]), st.just("1")).flatmap(
        lambda one: st.tuples(spelt(*one), spelt(*one)).map(lambda both: (*both[0], *both[1]))
    ),
)
UNREADABLE = st.one_of(
    WORDS.filter(lambda word: f"--{word}" not in SETTINGS and word != "help").map(lambda word: (f"--{word}", "1")),
    one_of(VALUED).map(lambda flag: (flag,)),
    one_of(VALUED).map(lambda flag: (flag, "--chunk-steps", "5")),
    one_of(VALUED).map(lambda flag: (f"{flag}s", "1")),
    WORDS.map(lambda word: (word,)),
    one_of(SWITCHES).map(lambda flag: (flag, "maybe")),
)
PLACES = one_of(
    [
        ("demo", "--data-dir", "file"),
        ("demo", "--data-dir", LONG),
        ("demo", "--data.config", "other"),
        ("iemocap",),
        ("iemocap", "--data-dir", "empty"),
        ("iemocap", "--data-dir", "file/below"),
        ("corpus",),
        ("corpus", "--data.name", "demo", "--data-dir", "file"),
        ("corpus", "--data.name", "", "--data-dir", "empty"),
        ("corpus", "--data.name", "../foreign", "--data-dir", "empty"),
        ("corpus", "--data.name", LONG, "--data-dir", "empty"),
        ("demo", "--run-dir", "file"),
        ("demo", "--run-dir", "file/below"),
        ("demo", "--run-dir", "foreign"),
        ("demo", "--run-dir", LONG),
        (),
        ("demmo",),
        ("--seeds", "1"),
    ]
)


@pytest.mark.parametrize(
    ("kind", "cases"),
    {
        "choices": WRONG_CHOICES,
        "seeds": WRONG_SEEDS,
        "lists": WRONG_LISTS,
        "repeated": REPEATED,
        "unreadable": UNREADABLE,
    }.items(),
)
def test_flags_that_cannot_be_used(kind: str, cases: Any, refuses: Any, run_train: Any) -> None:
    cases = cases.map(lambda flags: ("demo", *flags))
    for_every(cases, refuses(run_train), examples=2 * NEEDED[kind], at_least=NEEDED[kind])


def test_places_that_cannot_be_used(refuses: Any, run_train: Any) -> None:
    for_every(PLACES, refuses(run_train), examples=40, at_least=NEEDED["places"])


@pytest.fixture
def plain(place: Path, run_prepare: Any) -> Path:
    """The data folder of a prepared corpus without text, sessions and splits."""
    speaker, emotion = np.arange(24) % 4, np.arange(24) // 4 % 2
    np.savez("source.npz", utterance_id=np.arange(24), speaker=speaker, audio=np.eye(24), emotion=emotion.astype(str))
    outcome = run_prepare("arrays", "--source", "source.npz", "--name", "plain", "--data-dir", "data")
    assert outcome.status == 0, outcome.err
    return place / "data"


def test_corpora_that_lack_what_is_asked_for(plain: Path, run_train: Any) -> None:
    def kept() -> dict[str, bytes | None]:
        # A corpus that was read is kept beside its shards for later starts, whatever becomes of the command.
        return {path: content for path, content in snapshot(plain.parent).items() if "/.cache-" not in path}

    before = kept()
    cases = one_of(
        [
            ("--variants", "infogan"),
            ("--variants", "none", "cgan"),
            ("--variants", "none", "--aligned-variants", "infogan-paired"),
            ("--variants", "none", "--final", "--final-variant", "infogan"),
            ("--variants", "none", "--protocol", "session"),
            ("--variants", "none", "--protocol", "official"),
            ("--variants", "none", "--folds", "4"),
            ("--variants", "none", "--data.config", "other"),
        ]
    )

    def check(flags: tuple[str, ...]) -> None:
        refusal(run_train("corpus", "--data.name", "plain", "--data-dir", plain, *flags))
        assert kept() == before

    for_every(cases, check, examples=20, at_least=NEEDED["corpora"])


SCORE = one_of(
    [
        (),
        ("scores", "empty"),
        ("score",),
        ("score", "absent"),
        ("score", "empty"),
        ("score", "file"),
        ("score", "file/below"),
        ("score", "foreign"),
        ("score", LONG),
        ("score", ""),
        ("score", "empty", "foreign"),
        ("score", "empty", "--data-dir"),
        ("score", "empty", "--details", "--details"),
        ("score", "empty", "--detail"),
        ("score", "empty", "--data-dir", "a", "--data_dir", "b"),
    ]
)
PREPARE = st.one_of(
    st.integers(max_value=59).map(lambda size: ("demo", "--size", size)),
    st.integers(max_value=-1).map(lambda seed: ("demo", "--seed", seed)),
    one_of(NO_NUMBER).map(lambda value: ("demo", "--size", value)),
    one_of([("demo", "--data-dir", "file"), ("demo", "--data-dir", "file/below"), ("demo", "--data-dir", LONG)]),
    one_of([("demo", "--overwrite", "yes"), ("demo", "--name", "mine"), ("demo", "--size", 10**18), (), ("dummy",)]),
    WORDS.map(lambda word: ("arrays", "--source", "file", "--name", "mine", f"--{word}", "1")),
    one_of(["", "1st", "a b", "../up", "a/b", ".hidden", "é", "a\n", "a.b", "demo"]).map(
        lambda name: ("arrays", "--source", "file", "--name", name)
    ),
    one_of(["absent", "file", "empty", "", "file/below", LONG]).map(
        lambda path: ("arrays", "--source", path, "--name", "mine")
    ),
    one_of([("arrays",), ("arrays", "--source", "file"), ("arrays", "--name", "mine")]),
)


def test_arguments_of_the_other_commands(refuses: Any, run_eval: Any, run_prepare: Any) -> None:
    for_every(SCORE, refuses(run_eval), examples=40, at_least=NEEDED["eval.py"])
    for_every(PREPARE, refuses(run_prepare), examples=40, at_least=NEEDED["prepare.py"])


def test_new_processes_end_alike(place: Path, in_new_process: Any) -> None:
    before = snapshot(place)
    for argv in (
        ("train.py", "demo", "--align.steps", 2**31, "--run-dir", place / "run"),
        ("train.py", "demo", "--final", "--no-final", "--run-dir", place / "run"),
        ("eval.py", "score", place / LONG),
        ("datasets/prepare.py", "demo", "--seed", -1, "--data-dir", place / "data"),
    ):
        outcome = in_new_process(*argv)
        assert outcome.out == "" and len(refusal(outcome)) > 30
    assert snapshot(place) == before


def right_number(setting: Setting) -> st.SearchStrategy[Any]:
    if setting.entry.type is int:
        least = 2 if setting.flag in AT_LEAST_TWO else 1
        return st.integers(least, AT_MOST.get(setting.flag, LARGEST_INTEGER))
    bounds = setting.entry.metadata
    at_most = float(np.float32(min(bounds["high"], LARGEST_FLOAT)))
    open_ = bounds["high_open"] and math.isfinite(bounds["high"])
    return st.floats(
        bounds["low"], at_most, exclude_min=bounds["low_open"], exclude_max=open_, width=32, allow_subnormal=False
    ).map(abs)  # −0 is written as 0


@st.composite
def right_flags(draw: st.DrawFn) -> dict[str, Any]:
    """Values for some settings."""
    chosen = draw(st.lists(one_of(NUMBERS), unique_by=lambda one: one.flag, max_size=6))
    flags = {one.flag: draw(right_number(one)) for one in chosen}
    for flag in draw(st.sets(one_of(sorted(set(CHOICES) - {"--space"})), max_size=2)):
        flags[flag] = draw(one_of(CHOICES[flag]))
    if draw(st.booleans()):
        flags["--seeds"] = tuple(draw(st.lists(st.integers(0, LARGEST_INTEGER), unique=True, min_size=1, max_size=5)))
    if draw(st.booleans()):
        flags["--variants"] = tuple(draw(st.lists(one_of(get_args(LISTS["--variants"])), unique=True, min_size=1)))
    if draw(st.booleans()):
        flags["--run-dir"] = Path("runs", draw(st.text(string.ascii_letters + " .é数", min_size=1)))
    return together(flags)


def together(flags: dict[str, Any]) -> dict[str, Any]:
    """What of these settings can be used together: one corpus alone, no choice before a final model, whole packs in a batch,
    and no diffusion that D or Q would judge."""
    several = {"--data.normalise": {"corpus", "speaker"}, "--protocol": {"corpus", "cross-corpus"}, "--select": {"dev"}}
    flags = {flag: value for flag, value in flags.items() if flag not in several or value not in several[flag]}
    if "--generate.pack" in flags or "--generate.batch-size" in flags:
        pack = flags.get("--generate.pack", GenerateConfig.pack)
        flags["--generate.pack"] = math.gcd(pack, flags.get("--generate.batch-size", GenerateConfig.batch_size))
    if "diffusion-unconditional" in flags.get("--variants", ()):
        flags["--generate.label-by"] = "teacher"
        return {flag: value for flag, value in flags.items() if flag not in ("--generate.keep-by", "--generate.curriculum")}
    if any(name.startswith("diffusion") for name in flags.get("--variants", ())):
        judged = {"--generate.keep-by", "--generate.label-by", "--generate.curriculum"}
        return {flag: value for flag, value in flags.items() if flag not in judged}
    return flags


def test_flags_that_can_be_used_are_taken_as_said() -> None:
    def check(flags: dict[str, Any]) -> None:
        argv = [str(one) for flag, value in flags.items() for one in (flag, *(value if isinstance(value, tuple) else (value,)))]
        config = parse(["demo", "--final", *argv])  # for which --final-variant is
        for flag, value in flags.items():
            assert SETTINGS[flag].of(config) == value
        assert from_json(to_json(config)) == config

    for_every(right_flags(), check, examples=80, at_least=70)


def test_an_integer_in_the_place_of_a_number_is_no_saved_configuration() -> None:
    saved = to_json(parse(["demo"]))
    saved["classify"]["weight_decay"] = 1
    with pytest.raises(InfoserError, match="classify.weight_decay can't be 1"):
        from_json(saved)


def test_more_than_three_hundred_are_given() -> None:
    assert sum(NEEDED.values()) + OF_EACH_NUMBER * len(NUMBERS) >= AT_LEAST["flags"]
    assert sum(AT_LEAST.values()) >= 300

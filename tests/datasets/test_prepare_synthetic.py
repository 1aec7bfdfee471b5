"""Exports come back through `prepare.py arrays` exactly, alone and beside real utterances, and can't lose what marks them."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import prepare
import pytest
from arrays.with_synthetic import with_synthetic
from preparing import prepared, run

from infoser import synthetic
from infoser.corpus import Corpus, Frames
from infoser.errors import InfoserError
from infoser.export.formats import WRITERS
from infoser.export.rows import Export
from infoser.protocols import make_folds
from infoser.shards import read_corpus

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
from test_formats import make_export  # noqa: E402

Arrays = dict[str, np.ndarray]
Save = Callable[..., Path]
#: The emotions of the export, in the words of a real corpus.
TASK = ("--classes", "ang=ang", "hap+exc=hap,exc", "so=so <sad>|")


def written(tmp_path: Path, export: Export) -> Path:
    WRITERS["npz"](export, tmp_path)
    return tmp_path / "synthetic.npz"


def real_arrays(emotions: tuple[str, ...] = ("ang", "hap", "exc", "so <sad>|")) -> Arrays:
    rng, rows = np.random.default_rng(5), 16
    return {
        "utterance_id": np.array([f"utt{i:02d}" for i in range(rows)]),
        "audio": rng.normal(size=(rows, 4)).astype(np.float32),
        "text": rng.normal(size=(rows, 3)).astype(np.float32),
        "emotion": np.resize(np.array(emotions), rows),
        "speaker": np.repeat(["a", "b", "c", "d"], 4),
        "session": np.repeat(["1", "2"], 8),
        "valence": rng.normal(size=rows).astype(np.float32),
        "scripted": rng.random(rows) < 0.5,
    }


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("real", [0, 3])
def test_the_round_trip_is_exact(tmp_path: Path, text: bool, real: int, capsys: pytest.CaptureFixture[str]) -> None:
    export = make_export(text=text, real=real)
    corpus = prepared(written(tmp_path, export), tmp_path)
    for name in ("utterance_id", "audio", "text", "has_text", "label", "speaker", "session"):
        before, after = getattr(export.corpus, name), getattr(corpus, name)
        if before is None:
            assert after is None
            continue
        assert after.dtype.kind == before.dtype.kind and after.tobytes() == before.astype(after.dtype).tobytes(), name
    assert corpus.classes == export.corpus.classes
    assert set(corpus.columns) == set(export.corpus.columns)
    for name, column in export.corpus.columns.items():
        assert corpus.columns[name].dtype.kind == column.dtype.kind
        np.testing.assert_array_equal(corpus.columns[name], column, err_msg=name)
    assert corpus.provenance["export"] == export.metadata and not corpus.provenance["skipped"]
    assert [ids.tolist() for ids in synthetic.sets(corpus).values()] == [
        np.unique(ids).tolist() for ids in export.made_from.values()
    ]
    assert "synthetic   5 utterances, for training only" in capsys.readouterr().out


def test_rows_of_a_merged_class_do_not_become_one_of_its_parts(
    tmp_path: Path, save: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    export = make_export()
    members = {"ang": ["ang"], "hap+exc": ["hap", "exc"], "sad": ["so <sad>|"]}
    made = written(tmp_path, dataclasses.replace(export, metadata={**export.metadata, "members": members}))
    assert run(save(real_arrays()), tmp_path / "data", "--synthetic", str(made)) == 2
    said = capsys.readouterr().err
    assert "its rows of class 'hap+exc' may be any of hap, exc, which are different classes" in said
    assert "--classes hap+exc=hap,exc" in said
    assert len(prepared(save(real_arrays()), tmp_path, "--synthetic", str(made), *TASK)) == 21


def test_an_export_is_added_to_real_utterances(tmp_path: Path, save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    export, real = make_export(), real_arrays()
    made = written(tmp_path, export)
    corpus = prepared(save(real), tmp_path, "--synthetic", str(made), *TASK)
    out = capsys.readouterr().out
    assert "synthetic.npz: real rows 3, left out" in out and "filled      scripted is 'False'" in out
    assert corpus.utterance_id.tolist() == [*real["utterance_id"], *export.corpus.utterance_id[:5]]
    np.testing.assert_array_equal(corpus.audio, np.concatenate([real["audio"], export.corpus.audio[:5]]))
    assert corpus.label[16:].tolist() == [0, 1, 2, 1, 0]
    assert corpus.has_text is not None and corpus.has_text.tolist() == [True] * 16 + [False] + [True] * 4
    assert np.isnan(corpus.columns["valence"][16:]).all() and not corpus.columns["scripted"][16:].any()
    np.testing.assert_array_equal(corpus.columns["scripted"][:16], real["scripted"])
    assert set(corpus.provenance["filled"]) == {"valence", "scripted"}
    assert corpus.columns["synthetic"].tolist() == [False] * 16 + [True] * 5
    for fold in make_folds(corpus, "session"):
        assert fold.train[-5:].tolist() == [*range(16, 21)] and fold.test.max() < 16


def test_concatenated_by_hand_it_is_the_same(tmp_path: Path, save: Save) -> None:
    """What a user does who knows NumPy: every array that both have, the marks, and the sets."""
    real = real_arrays()
    with np.load(written(tmp_path, make_export(real=0, text=False)), allow_pickle=False) as file:
        made = {key: file[key] for key in file.files}
    count = len(real["audio"])
    both = {key: np.concatenate([real[key], made[key]]) for key in ("utterance_id", "audio", "emotion", "speaker", "session")}
    both["synthetic"] = np.concatenate([np.zeros(count, bool), made["synthetic"]])
    both["made_from"] = np.concatenate([np.full(count, ""), made["made_from"]])
    sets = {key: array for key, array in made.items() if key.startswith("made_from_")}
    joined = prepared(save(both | sets, "both.npz"), tmp_path, *TASK, name="by_hand")
    added = prepared(save(real), tmp_path, "--synthetic", str(tmp_path / "synthetic.npz"), *TASK, name="added")
    for name in ("utterance_id", "audio", "label", "speaker", "session"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(added, name), err_msg=name)
    assert [fold.train.tolist() for fold in make_folds(joined, "speaker")] == [
        fold.train.tolist() for fold in make_folds(added, "speaker")
    ]


def test_a_prepared_corpus_is_joined_to_the_same_rows(tmp_path: Path, save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    made, data = str(written(tmp_path, make_export())), tmp_path / "data"
    added = prepared(save(real_arrays()), tmp_path, "--synthetic", made, *TASK, name="added")
    before = prepared(save(real_arrays()), tmp_path, *TASK, name="real")
    flags = ["join", "--of", "real", "--synthetic", made, "--name", "joined", "--data-dir", str(data)]
    assert prepare.main(flags) == 0
    joined = read_corpus(data, "joined")
    for name in ("utterance_id", "audio", "text", "has_text", "label", "speaker", "session"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(added, name), err_msg=name)
    assert set(joined.columns) == set(added.columns) and joined.classes == before.classes
    assert read_corpus(data, "real").provenance["shards_hash"] == before.provenance["shards_hash"]
    capsys.readouterr()
    assert prepare.main(flags) == 0 and "already prepared" in capsys.readouterr().out
    assert prepare.main([*flags[:-4], "--name", "real", "--data-dir", str(data)]) == 2
    assert "give another" in capsys.readouterr().err


def test_frames_are_left_out_of_what_is_joined_and_that_is_said(tmp_path: Path) -> None:
    corpus = make_export(text=False).corpus
    plain = {name: getattr(corpus, name)[5:] for name in ("utterance_id", "audio", "label", "speaker", "session")}
    frames = Frames(corpus.audio[5:], np.arange(3), np.ones(3, np.int32))
    provenance = {"settings": {"classes": {name: [name[:3]] for name in corpus.classes}}, "frames": {"audio_frames": 3}}
    real = dataclasses.replace(corpus, columns={}, audio_frames=frames, provenance=provenance, **plain)
    joined = with_synthetic(real, [written(tmp_path, make_export(text=False))])
    assert len(joined) == 7 and joined.audio_frames is None and "frames" not in joined.provenance
    assert "pooled features" in joined.provenance["skipped"]["frames"]


@pytest.mark.parametrize(
    ("made_by", "fits"),
    [
        ("wavlm-large, layer last, mean", True),
        ("somewhere/wavlm, layer last, mean", True),  # the same weights by another name
        ("hubert-large, layer 7, max", False),
    ],
)
def test_exports_of_other_encoders_are_refused(made_by: str, fits: bool, tmp_path: Path) -> None:
    export = make_export(text=False)
    names = ("utterance_id", "audio", "label", "speaker", "session")
    plain = {name: getattr(export.corpus, name)[5:] for name in names}
    classes = {name: [name[:3]] for name in export.corpus.classes}
    own = {"id": "wavlm-large", "layer": "last", "pooling": "mean", "precision": "float32", "weights_sha256": "0" * 64}
    settings = {"kind": "recordings", "audio": own, "text": None, "classes": classes}
    real = dataclasses.replace(export.corpus, columns={}, provenance={"settings": settings}, **plain)
    path = written(tmp_path, export)
    arrays = dict(np.load(path, allow_pickle=False))
    metadata = json.loads(str(arrays["metadata"])) | {"encoders": {"audio": f"{made_by} (sha256 00000000)"}}
    np.savez(path, **arrays | {"metadata": np.array(json.dumps(metadata))})
    if fits:
        assert len(with_synthetic(real, [path])) == 7  # of one emotion there is no class
    else:
        with pytest.raises(InfoserError, match="its audio features are those of another encoder .hubert-large"):
            with_synthetic(real, [path])


def test_two_exports_are_added(tmp_path: Path, save: Save) -> None:
    paths = []
    for number, prefix in enumerate(("synthetic-x-", "synthetic-y-")):
        (tmp_path / str(number)).mkdir()
        paths.append(str(written(tmp_path / str(number), make_export(ids=prefix, soft=bool(number)))))
    corpus = prepared(save(real_arrays()), tmp_path, "--synthetic", *paths, *TASK)
    assert len(corpus) == 26 and corpus.columns["synthetic"].sum() == 10
    assert np.isnan(corpus.columns["label_probability"][:21]).all()


def _without(key: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.pop(key)  # pyright: ignore[reportReturnType]


def _set_key(arrays: Arrays) -> str:
    return next(key for key in arrays if key.startswith("made_from_"))


@pytest.mark.parametrize(
    "change, said",
    [
        (_without("made_from"), "no array 'made_from'"),
        (lambda arrays: arrays.pop(_set_key(arrays)), "has no array 'made_from_"),
        (lambda arrays: arrays.update({_set_key(arrays): np.zeros(3, np.uint64)}), "has a damaged array"),
        (lambda arrays: arrays.update(synthetic=arrays["synthetic"].astype(int)), "make it bool"),
        (lambda arrays: arrays.update(synthetic=np.zeros(len(arrays["synthetic"]), bool)), "'speaker' is empty"),
        (lambda arrays: arrays.update(metadata=np.array("[1]")), "'metadata'"),
        (lambda arrays: arrays.update(has_text=np.zeros(2, bool)), "'has_text'"),
    ],
)
def test_marks_that_are_lost_or_damaged_are_refused(
    tmp_path: Path, save: Save, capsys: pytest.CaptureFixture[str], change: Callable[[Arrays], None], said: str
) -> None:
    with np.load(written(tmp_path, make_export()), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    change(arrays)
    assert run(save(arrays), tmp_path / "data") == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "real, flags, said",
    [
        (real_arrays() | {"audio": np.zeros((16, 5), np.float32)}, TASK, "of other encoders"),
        (real_arrays() | {"text": np.zeros((16, 5), np.float32)}, TASK, "--no-text"),
        (real_arrays(("one", "two")), (), "none of its emotions"),
    ],
)
def test_an_export_that_does_not_fit_is_refused(
    tmp_path: Path, save: Save, capsys: pytest.CaptureFixture[str], real: Arrays, flags: tuple[str, ...], said: str
) -> None:
    made = written(tmp_path, make_export())
    assert run(save(real), tmp_path / "data", "--synthetic", str(made), *flags) == 2
    assert said in capsys.readouterr().err


def test_a_file_without_synthetic_rows_is_no_export(tmp_path: Path, save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(real_arrays())
    assert run(source, tmp_path / "data", "--synthetic", str(source), *TASK) == 2
    assert "no synthetic rows" in capsys.readouterr().err


def test_the_same_rows_twice_are_refused(tmp_path: Path, save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    made = str(written(tmp_path, make_export()))
    assert run(save(real_arrays()), tmp_path / "data", "--synthetic", made, made, *TASK) == 2
    assert "occurs twice" in capsys.readouterr().err


def test_a_corpus_of_synthetic_rows_alone_is_prepared_and_not_trained_on(tmp_path: Path) -> None:
    corpus: Corpus = prepared(written(tmp_path, make_export(real=0)), tmp_path)
    with pytest.raises(InfoserError, match="--synthetic"):
        make_folds(corpus, "auto")

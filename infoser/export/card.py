"""The data card of an export: what it is, where it comes from, how good it is, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infoser.export.formats import EMOTION2VEC, NKULULEKO, NPZ, PARQUET, TFDS
from infoser.export.rows import Export

_QUALITY = {
    "class_information_nats": "E[ln q(c\\|ĥ)] + H(c), by a q fitted to generated rows, in nats",
    "class_information_standard_error": "its standard error over folds, in nats",
    "class_information_ceiling_nats": "its ceiling ln C, in nats",
    "class_information_null_95_nats": "its 95th percentile under permuted labels, in nats",
    "recovered_ua": "UA of that q on further generated rows",
    "tstr_ua": "UA on real test rows of a head trained on generated rows alone",
    "trtr_ua": "UA on real test rows of a head trained on real rows",
    "trts_ua": "UA on generated rows of a head trained on real rows",
}
_COLUMNS = {
    "utterance_id": "unique; begins with `synthetic-` where the row is",
    "audio": "features in the units of the audio encoder",
    "text": "features in the units of the text encoder",
    "has_text": "whether the row has text features; without, they are zeros that mean nothing",
    "emotion": "the class, by an emotion code that the source corpus counts as it",
    "speaker": "'' for a synthetic row: nobody spoke it",
    "synthetic": "true for every generated row",
    "made_from": "the name of the set of utterances that the row was made from; the ids' hashes are in `made_from_NAME` of the "
    ".npz, and in export.json",
    "made_by": "run folder/variant/model/seed/draw seed",
    "condition": "the class that the row was made from; '' where it was none",
    "text_from": "the real utterance whose text goes with the row; '' for none",
    "text_generated": "whether the row's text features were generated along with its audio",
    "discriminator_score": "D's score: higher for what it takes for real, comparable within one export only",
    "recogniser_log_probability": "Q's ln q(c\\|ĥ) of the row's class, in nats",
    "label_probability": "(classes,) class probabilities; the class is the likeliest",
}


def text(export: Export, formats: Sequence[str], notes: Sequence[str]) -> str:
    """The card, as Markdown."""
    told = export.metadata
    parts = [
        _head(told, export),
        "## Where it comes from\n\n" + _table(("", ""), _source(told)),
        "## Rows\n\n" + _rows(export, notes),
        "## Quality\n\n" + _quality(told),
        "## Loading\n\n" + "\n\n".join(_LOADING[name](export) for name in formats),
        _leaks(told),
        _licence(told),
    ]
    return "\n\n".join(parts) + "\n"


def _head(told: Mapping[str, Any], export: Export) -> str:
    real = told["rows"]["real"]
    also = f" Beside them stand {real:,} **real** training rows, marked so." if real else " No real utterance's audio is in it."
    return (
        f"# Synthetic speech-emotion features: {_plain(told['corpus']['name'])}, `{told['variant']}`\n\n"
        f"{told['rows']['synthetic']:,} feature vectors that **no one ever spoke**: infoser {told['infoser']} made them, by "
        f"{_model(told)}.{also} Train on them, never test on them; each row is marked `synthetic`."
    )


def _model(told: Mapping[str, Any]) -> str:
    which = "the final model, trained on all utterances" if told["model"] == "final" else f"fold {told['fold']!r}, by whose"
    return _plain(which if told["model"] == "final" else f"{which} test part it was never trained on")


def _source(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    corpus = told["corpus"]
    encoders = [(f"{modality} encoder", described) for modality, described in told["encoders"].items()]
    settings = ", ".join(f"{key.replace('_', '-')}={value}" for key, value in told["settings"].items())
    return [
        ("corpus", f"{corpus['name']} ({corpus['utterances']:,} utterances)"),
        ("its shards", corpus["shards_hash"] or "none: made in memory"),
        *(encoders or [("encoders", "unknown to infoser: the features were made elsewhere")]),
        ("run folder", told["run"]),
        ("its configuration", told["config_fingerprint"]),
        ("part of the run", told["cell"] or "the base configuration"),
        ("space", told["space"] + ("; the encoder's part of each row" if told["space"] == "joined" else "")),
        ("variant", told["variant"]),
        ("model", _model(told)),
        ("seed, draw seed", f"{told['seed']}, {told['draw_seed']}"),
        ("made from", f"{told['made_from']['utterances']:,} utterances, set {told['made_from']['set']}"),
        ("text", told["text"]),
        ("settings", settings),
        ("infoser", told["infoser"]),
    ]


def _rows(export: Export, notes: Sequence[str]) -> str:
    corpus, made, told = export.corpus, export.synthetic, export.metadata
    counted = []
    for index, (name, code) in enumerate(told["classes"].items()):
        own = corpus.label == index
        counted.append((name, code, f"{int((own & made).sum()):,}", f"{int((own & ~made).sum()):,}"))
    present = ["utterance_id", "audio", *(["text"] if corpus.text is not None else [])]
    present += ["has_text"] if corpus.has_text is not None else []
    present += ["speaker", *corpus.columns]
    shape = {"audio": f" ({corpus.audio.shape[1]})"} | ({} if corpus.text is None else {"text": f" ({corpus.text.shape[1]})"})
    columns = [(f"`{name}`{shape.get(name, '')}", _COLUMNS[name]) for name in present]
    without = int((~corpus.labelled).sum())
    said = [*notes, *([f"{without:,} real rows have no label."] if without else [])]
    said += ["Labels are soft: `label_probability` says how sure each is."] if told["labels"] == "soft" else []
    return "\n\n".join(
        [_table(("class", "emotion code", "synthetic", "real"), counted), _table(("column", "meaning"), columns)]
        + (["\n".join(f"- {_plain(one)}" for one in said)] if said else [])
    )


def _quality(told: Mapping[str, Any]) -> str:
    row = told["quality"]
    if row is None:
        return f"Not measured: {_plain(told['quality_note'])}. `python eval.py quality RUN` measures it."
    found = [(meaning, _number(row[key])) for key, meaning in _QUALITY.items() if row.get(key) is not None]
    return (
        f"From the run's results ({_plain(told['quality_note'])}); UA is the mean over folds.\n\n"
        + _table(("measure", "value"), found)
        + "\n\nWhether training on such rows helps is another question: the run's scores beside `none` answer it."
    )


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _leaks(told: Mapping[str, Any]) -> str:
    part = "all utterances of its corpus" if told["model"] == "final" else f"the training part of fold {told['fold']!r}"
    return (
        "## What not to do\n\n"
        f"The rows were made from {_plain(part)}: a model that trains on them is not to be tested on those. infoser sees to "
        "that where it knows (`made_from`): a fold does not train on rows that were made from what it holds out, and says how "
        "many these are. Other tools do not."
    )


def _licence(told: Mapping[str, Any]) -> str:
    return (
        "## Licence\n\n"
        f"These rows derive from {_plain(told['corpus']['name'])}: its licence may bind what is made from it, and who may have "
        "it. Ask its owners before passing them on. A generator can repeat what it was trained on; `python eval.py quality "
        "RUN` measures how near its rows come to training rows."
    )


def _load_npz(export: Export) -> str:
    return (
        f"**NumPy, scikit-learn** (`{NPZ}`)\n\n"
        "```python\nimport numpy as np\n"
        f'with np.load("{NPZ}", allow_pickle=False) as made:\n    X, y = made["audio"], made["emotion"]\n```\n\n'
        "**infoser**, with real utterances of the same encoders (REAL.npz as datasets/arrays/README.md has it):\n\n"
        f"```\npython datasets/prepare.py arrays --source REAL.npz --synthetic {NPZ} --name both --data-dir data\n```"
    )


def _load_parquet(export: Export) -> str:
    return (
        f"**pandas** (`{PARQUET}`; the metadata is in the schema, under `infoser`)\n\n"
        "```python\nimport numpy as np, pandas as pd\n"
        f'made = pd.read_parquet("{PARQUET}")\nX, y = np.stack(made["audio"]), made["emotion"]\n```'
    )


def _load_tfds(export: Export) -> str:
    name = export.corpus.name
    return (
        f"**TFDS** (`{TFDS}/{name}/1.0.0`; no TensorFlow needed)\n\n"
        "```python\nimport tensorflow_datasets as tfds\n"
        f'made = tfds.builder_from_directory("{TFDS}/{name}/1.0.0").as_data_source("utterances")\n```'
    )


def _load_nkululeko(export: Export) -> str:
    text = f"; `{NKULULEKO}/features_text.csv` has text features" if export.corpus.text is not None else ""
    labels = ", ".join(repr(one) for one in export.corpus.classes)
    return (
        f"**nkululeko** (`{NKULULEKO}/`; the segments are nominal: there is no sound{text})\n\n"
        "```ini\n[DATA]\ndatabases = ['synthetic', 'REAL']\n"
        f"synthetic = {NKULULEKO}/data.csv\nsynthetic.type = csv\nsynthetic.split_strategy = train\n"
        f"target = emotion\nlabels = [{labels}]\n[FEATS]\ntype = ['import']\n"
        f"import_file = ['{NKULULEKO}/features.csv', 'REAL_FEATURES.csv']\n```"
    )


def _load_emotion2vec(export: Export) -> str:
    return (
        f"**emotion2vec's downstream task** (`{EMOTION2VEC}/synthetic.npy`, `.lengths`, `.emo`; one frame a row; `.csv` holds "
        "the marks)\n\n```python\nfrom data import load_ssl_features  # iemocap_downstream\n"
        f'made = load_ssl_features("{EMOTION2VEC}/synthetic", label_dict)\n```'
    )


_LOADING = {
    "npz": _load_npz,
    "parquet": _load_parquet,
    "tfds": _load_tfds,
    "nkululeko": _load_nkululeko,
    "emotion2vec": _load_emotion2vec,
}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(value: str) -> str:
    """Text from data, on one line and without what Markdown or HTML would read in it."""
    one_line = " ".join(str(value).split())
    for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        one_line = one_line.replace(sign, written)
    return one_line.replace("\\|", "|").replace("|", "\\|")

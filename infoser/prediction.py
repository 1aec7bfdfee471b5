"""Emotions of new recordings, by a run folder's heads: encoded as its corpus was, and read as rows outside all training.

The recordings are appended to the corpus as unlabelled rows that no fold trains on, so that they go the very way that test
rows go: the same standardisation, the same aligners, the same heads.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infoser import experiment, final_folder
from infoser.cells import refuse_selected
from infoser.config import Config
from infoser.corpora import concatenate
from infoser.corpus import UNLABELLED, Corpus, Frames
from infoser.encoders.audio import load_audio_encoder
from infoser.encoders.extraction import Modality
from infoser.encoders.identity import differing
from infoser.encoders.pooling import pool
from infoser.encoders.text import load_text_encoder
from infoser.encoders.waveform import BadAudio, read_audio
from infoser.errors import InfoserError
from infoser.execution import arm_names, run_planned
from infoser.leakage import Fold
from infoser.runs import HeadOutputs, run_space
from infoser.trainer import Trainer


@dataclass(frozen=True)
class Prediction:
    """What the heads say of one recording.

    Attributes:
      file: its path, as it was given.
      probability: class probabilities, averaged over seeds; None where the file can't be used.
      by_seed: the same for each seed.
      error: why the file can't be used; '' where it can.
    """

    file: Path
    probability: dict[str, float] | None
    by_seed: dict[int, dict[str, float]]
    error: str = ""

    @property
    def emotion(self) -> str:
        """The likeliest one; '' where the file can't be used."""
        return "" if self.probability is None else max(self.probability, key=self.probability.__getitem__)


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
      folder: the run folder.
      files: the recordings.
      texts: their transcripts, one for each; none to predict from audio alone.
      fold: predict by the model that was tested on this fold; '' for the final model.
      variant: the variant's heads; '' for the final model's own, or `none` of a fold.
      data_dir: where the corpus is, if it was moved.
      audio_encoder, text_encoder: where a local encoder is, if its shards remember its name only; '' as recorded.
      device: of Hugging Face encoders.
    """

    folder: Path
    files: Sequence[Path]
    texts: Sequence[str] = ()
    fold: str = ""
    variant: str = ""
    data_dir: Path | None = None
    audio_encoder: str = ""
    text_encoder: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class Answer:
    """The predictions, and by which model: its variant, modality and fold ('' for the final model)."""

    predictions: list[Prediction]
    variant: str
    modality: str
    fold: str


def predict(request: Request) -> Answer:
    """Encodes recordings as the corpus of a run folder was, and asks its heads.

    Raises:
      InfoserError: if the run folder has no such model, its corpus or the encoders are not at hand or not the same, or no
        file can be used.
    """
    if request.texts and len(request.texts) != len(request.files):
        raise InfoserError(f"{len(request.texts)} texts for {len(request.files)} recordings: give one for each, in their order")
    config, corpus = experiment.restore(request.folder, request.data_dir)
    if config.data.normalise != "training":
        raise InfoserError(
            f"{request.folder} was trained on features standardised by each {config.data.normalise}, which single recordings "
            "have no statistics for; train with --data.normalise training, or prepare them and use eval.py score --corpus"
        )
    modality = "both" if request.texts else "audio"
    if request.texts and corpus.text is None:
        raise InfoserError(f"{request.folder} was trained without text; leave --text out")
    model = _model(request, config, corpus)
    audio, text = _encoders(request, corpus, with_text=bool(request.texts))
    audio_frames: list[np.ndarray] = []
    usable, errors, seeds = [], {}, []
    for number, file in enumerate(request.files):
        try:
            waveform = read_audio(file, audio.encoder.sample_rate)
        except BadAudio as error:
            errors[number] = str(error)
            continue
        usable.append(number)
        audio_frames += audio.encoder.encode([waveform.samples])
    probability = np.zeros((0, 0, 0))
    if usable:
        text_frames = None if text is None else [text.encoder.encode([request.texts[number]])[0] for number in usable]
        extended = _extended(corpus, audio, audio_frames, text, text_frames)
        # A group holds all folds: the others are restored too, and asked nothing.
        rows = {model.fold.name: np.arange(len(corpus), len(extended))}
        asked = [dataclasses.replace(one, test=rows.get(one.name, one.test[:0])) for one in model.folds]
        trainer = experiment.make_trainer(config, request.folder, restore_only=True)
        heads = [
            head
            for head in model.heads(extended, asked, trainer, modality)
            if (head.unit.fold.name, head.variant, head.cell, head.probe) == (model.fold.name, model.variant, model.cell, False)
        ]
        seeds = [head.unit.seed for head in heads]
        probability = np.stack([np.exp(head.log_probability) for head in heads])  # (seeds, files, classes)
    predictions = []
    for number, file in enumerate(request.files):
        if number in errors:
            predictions.append(Prediction(file, None, {}, errors[number]))
            continue
        own = probability[:, usable.index(number)]
        named = [{name: float(p) for name, p in zip(corpus.classes, row, strict=True)} for row in own]
        mean = {name: float(p) for name, p in zip(corpus.classes, own.mean(axis=0), strict=True)}
        predictions.append(Prediction(file, mean, dict(zip(seeds, named, strict=True))))
    return Answer(predictions, model.variant, modality, request.fold)


@dataclass(frozen=True)
class _Model:
    """A variant's model of the base cell: the folds of its runs, the fold it was tested on, and how its heads are restored."""

    variant: str
    cell: str
    folds: Sequence[Fold]
    fold: Fold
    heads: Callable[[Corpus, Sequence[Fold], Trainer, str], list[HeadOutputs]]


def _model(request: Request, config: Config, corpus: Corpus) -> _Model:
    """The model that is asked for; raises InfoserError if there is none."""
    refuse_selected(request.variant)
    if not request.fold:
        variant = request.variant or final_folder.read_final(request.folder)
        if not (request.folder / experiment.final_prefix(variant)).is_dir():
            raise InfoserError(
                f"{request.folder} has no final model of variant {variant!r}; run its training command again with --final "
                f"--final-variant {variant}, or choose a fold's model with --fold"
            )
        final, prefix = experiment.restored_final(request.folder, config, variant), experiment.final_prefix(variant)
        fold = experiment.final_fold(len(corpus))

        def of_final(corpus: Corpus, folds: Sequence[Fold], trainer: Trainer, modality: str) -> list[HeadOutputs]:
            return run_space(final, corpus, folds, trainer, prefix, (modality,)).heads

        return _Model(variant, "", (fold,), fold, of_final)
    _, folds = experiment.plan_folds(config, corpus)
    by_name = {fold.name: fold for fold in folds}
    if request.fold not in by_name:
        raise InfoserError(f"{request.folder} has no fold {request.fold!r}; its folds: {', '.join(by_name)}")
    plans = experiment.plans_of(request.folder, config, corpus)
    root = plans[0].branch.arms[0].cell
    variants = dict.fromkeys(arm.variant for plan in plans for arm in plan.branch.arms if arm.cell == root)
    variant = request.variant or next(iter(variants))
    if variant not in variants:
        raise InfoserError(f"{request.folder} has no variant {variant!r}; its variants: {', '.join(variants)}")
    own = [plan for plan in plans if request.fold in plan.part.folds and (root, variant) in arm_names(plan)]
    if not own:
        raise InfoserError(
            f"{request.folder} has nothing of {variant} in fold {request.fold!r} yet; run its training command again, or "
            "choose another --fold or --variant"
        )

    def of_fold(corpus: Corpus, folds: Sequence[Fold], trainer: Trainer, modality: str) -> list[HeadOutputs]:
        return run_planned(own, corpus, folds, trainer, (modality,)).heads

    return _Model(variant, root, folds, by_name[request.fold], of_fold)


def _encoders(request: Request, corpus: Corpus, *, with_text: bool) -> tuple[Modality, Modality | None]:
    """The encoders that the corpus was prepared with.

    Raises:
      InfoserError: if it was not prepared from recordings, or the encoders at hand are others.
    """
    settings: Mapping[str, Any] = corpus.provenance.get("settings", {})
    if settings.get("kind") != "recordings":
        raise InfoserError(
            f"the features of corpus {corpus.name!r} were made elsewhere, so new recordings can't be encoded alike; prepare it "
            "from its recordings (prepare.py manifest, iemocap, …), and train on that"
        )
    specs = corpus.provenance["encoders"]
    audio = _modality(settings["audio"], "audio", request.audio_encoder or specs["audio"], request.device)
    if not with_text:
        return audio, None
    return audio, _modality(settings["text"], "text", request.text_encoder or specs["text"], request.device)


def _modality(recorded: Mapping[str, Any], modality: str, spec: str, device: str) -> Modality:
    load = load_audio_encoder if modality == "audio" else load_text_encoder
    options: dict[str, Any] = {"layer": recorded["layer"], "precision": recorded["precision"], "device": device}
    if modality == "audio":
        options["frames"] = recorded["frames"]
    try:
        encoder = load(spec, **options)
    except InfoserError as error:
        raise InfoserError(f"{error} (where the {modality} encoder is now: --{modality}-encoder)") from error
    loaded = Modality(encoder, recorded["pooling"], recorded["frames"])
    if different := differing(recorded, loaded.settings):
        key = different[0]
        raise InfoserError(
            f"the corpus was encoded with another {modality} encoder than this one: {key} was {recorded.get(key)!r} and is "
            f"{loaded.settings.get(key)!r}; give the same one with --{modality}-encoder"
        )
    return loaded


def _extended(
    corpus: Corpus,
    audio: Modality,
    audio_frames: list[np.ndarray],
    text: Modality | None,
    text_frames: list[np.ndarray] | None,
) -> Corpus:
    """The corpus with the new recordings as its last rows, without labels; rows without text have no text features."""
    # Nobody's: what shares a name with training rows would be taken for theirs.
    named = np.array([f"recording {number} to predict" for number in range(len(audio_frames))])
    spoken = None if corpus.text is None or text is None else text_frames
    recordings = Corpus(
        name="recordings",
        utterance_id=named,
        audio=np.stack([pool(frames, audio.pooling) for frames in audio_frames]),
        text=None if spoken is None or text is None else np.stack([pool(frames, text.pooling) for frames in spoken]),
        label=np.full(len(named), UNLABELLED, corpus.label.dtype),
        classes=corpus.classes,
        speaker=named,
        session=None if corpus.session is None else named,
        dialogue=None if corpus.dialogue is None else named,
        audio_frames=_laid_end_to_end(audio_frames, corpus.audio_frames),
        text_frames=_laid_end_to_end(spoken, corpus.text_frames),
    )
    return concatenate([corpus, recordings], name=corpus.name, classes=corpus.classes, provenance=corpus.provenance)


def _laid_end_to_end(sequences: Sequence[np.ndarray] | None, like: Frames | None) -> Frames | None:
    if sequences is None or like is None:
        return None
    values = [one.reshape(-1, like.values.shape[1]).astype(like.values.dtype) for one in sequences]
    count = np.array([len(one) for one in values], np.int32)
    return Frames(np.concatenate(values), np.cumsum(count, dtype=np.int64) - count, count)


def as_json(answer: Answer) -> list[dict[str, Any]]:
    """A plain JSON object for each recording."""
    model = {"variant": answer.variant, "modality": answer.modality, "model": answer.fold or "final"}
    return [
        {"file": str(each.file), **model, "error": each.error}
        if each.probability is None
        else {
            "file": str(each.file),
            **model,
            "emotion": each.emotion,
            "probability": each.probability,
            "probability_by_seed": {str(seed): values for seed, values in each.by_seed.items()},
        }
        for each in answer.predictions
    ]

"""Stage 1 on frames and on rows without text: which rows and frames an aligner learns from, and what it embeds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infoser import frame_table as frames_module
from infoser.corpus import Frames
from infoser.fold_view import draw_class_balanced, draw_rows
from infoser.frame_table import Chunks, FrameMoments, frame_table, tiles
from infoser.spaces import tile_bounds
from infoser.stages.align import Align, AlignRun
from infoser.strata import largest_share

STRUCTURE = {"n_classes": 3, "width": 8, "representation_dim": 3, "batch_size": 16, "steps": 60, "mi_estimator": "jsd"}
PLAIN = Align(has_text=True, label_free=False, **STRUCTURE)
NUMBERS = {
    "learning_rate": 1e-2,
    "weight_decay": 0.0,
    "dropout": 0.1,
    "class_weight": 1.0,
    "contrastive_weight": 1.0,
    "temperature": 0.2,
    "mi_weight": 0.1,
}
HAS_TEXT = np.arange(40) % 4 > 0
STEPS = 5


@dataclasses.dataclass
class Case:
    """What an aligner on frames (audio, text or both) is given; `has_text` where some rows have none."""

    corpus: object
    frames: dict[str, Frames]
    has_text: np.ndarray | None = None

    def run(self, **changes):
        moments = {f"{name}_frames": FrameMoments.of(each) for name, each in self.frames.items()}
        numbers = {name: np.float32(changes.pop(name, value)) for name, value in NUMBERS.items()}
        views = [
            self.corpus.view(has_text=self.has_text, with_text_only=only, **moments, **changes)
            for only in ([False] if self.has_text is None else [False, True])
        ]
        return AlignRun(views[0], numbers, *views[1:])

    def stage(self, run=None):
        bounds = {f"{name}_bounds": tile_bounds([run or self.run()], each, 16) for name, each in self.frames.items()}
        return dataclasses.replace(PLAIN, **bounds)

    def features(self, **changes):
        if not self.frames:
            return self.corpus.features(**changes)
        tables = {f"{name}_frames": frame_table(each, "") for name, each in self.frames.items()}
        return self.corpus.features(**changes).replace(**jax.tree.map(jnp.asarray, tables))

    def embed(self, stage, state, shared, run):
        """h and t of all rows, chunk by chunk."""
        chunks = Chunks.deal(self.frames.get("audio"), self.frames.get("text"))
        embed = jax.jit(stage.embed, static_argnums=(4, 5))
        tiles_held = (chunks.audio_tiles, chunks.text_tiles)
        said = [embed(state, shared, (run, rows), jax.random.key(0), *tiles_held) for rows in chunks.rows]
        return chunks, *(np.concatenate(part)[chunks.place] for part in zip(*said, strict=True))


def case(corpus, which, has_text=None):
    frames = {"audio": corpus.frames("audio"), "text": corpus.frames("text", 9)}
    if has_text is not None:
        frames["text"] = dataclasses.replace(frames["text"], count=np.where(has_text, frames["text"].count, 0).astype(np.int32))
    return Case(corpus, {name: frames[name] for name in which}, has_text)


def spoiled(frames, rows):
    """The same frames, but NaN in some rows."""
    values = frames.values.copy()
    for row in rows:
        values[frames.start[row] : frames.start[row] + frames.count[row]] = np.nan
    return dataclasses.replace(frames, values=values)


@pytest.mark.parametrize("which", [("audio",), ("text",), ("audio", "text")])
def test_terms_are_what_a_step_returns(corpus, which):
    given = case(corpus, which)
    stage, run, shared, key = given.stage(), given.run(), given.features(), jax.random.key(0)
    state = jax.eval_shape(stage.init, shared, run, key)
    assert {f"{name}_encoder_pooling" for name in which} == {
        name for name in state.params["aligner"]["params"] if "pooling" in name
    }
    after, terms = jax.eval_shape(stage.train_step, state, shared, run, key, np.float32(0))
    assert sorted(terms) == sorted(stage.terms)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(after)] == [(x.shape, x.dtype) for x in jax.tree.leaves(state)]


def test_an_easy_corpus_is_learned_and_attention_with_it(corpus, train):
    given = case(corpus, ("audio", "text"))
    stage = given.stage()
    start, _ = train(stage, given.features(), given.run(), 0)
    state, terms = train(stage, given.features(), given.run(), 60)
    assert terms["class"][-5:].mean() < 0.7 * terms["class"][:5].mean()
    assert terms["total"][-5:].mean() < terms["total"][:5].mean()
    for name in ("audio_encoder_pooling", "text_encoder_pooling"):
        for leaf, before in zip(
            *(jax.tree.leaves(one.params["aligner"]["params"][name]) for one in (state, start)), strict=True
        ):
            assert not np.array_equal(leaf, before)


def test_frames_outside_the_training_part_are_not_looked_at(corpus, train, same):
    given = case(corpus, ("audio", "text"))
    before, _ = train(given.stage(), given.features(), given.run(), STEPS)
    other = Case(corpus, {name: spoiled(each, corpus.outside) for name, each in given.frames.items()})
    after, _ = train(given.stage(), other.features(), other.run(), STEPS)
    assert same(before, after)
    noticed = Case(corpus, {name: spoiled(each, corpus.train[:1]) for name, each in given.frames.items()})
    assert not np.isfinite(jax.tree.leaves(train(given.stage(), noticed.features(), noticed.run(), 1)[0].params)[0]).all()


def test_every_drawn_batch_fits_its_budget(corpus):
    given = case(corpus, ("audio", "text"), HAS_TEXT)
    stage, run = given.stage(), given.run()
    draw = jax.jit(lambda key, view: draw_rows(key, view, 16, by_length=True))
    draw_balanced = jax.jit(lambda key, view: draw_class_balanced(key, view, 16, by_length=True)[0])
    fullest = 0.0
    for seed in range(200):
        for view in (run.view, run.text_view):
            for kind, drawn in (("pairs", draw), ("labelled", draw_balanced)):
                rows = np.asarray(drawn(jax.random.key(seed), view))
                for name, bounds in (("audio", stage.audio_bounds), ("text", stage.text_bounds)):
                    needed = tiles(given.frames[name].count[rows])
                    if name == "text" and kind == "pairs" and view is run.view:
                        continue  # never packed: pairs are drawn from rows with text
                    for shares in (1, 4):
                        budget = largest_share(getattr(bounds, kind), shares)
                        held = needed.reshape(shares, -1).sum(axis=1).max()
                        assert held <= budget
                        fullest = max(fullest, held / budget)
    assert fullest > 0.8  # and the budget is not much too large


def test_drawing_by_length_keeps_rows_equally_likely(corpus):
    view = jax.tree.map(jnp.asarray, case(corpus, ("audio",)).run().view)
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: draw_rows(key, view, 16, by_length=True)))(keys))
    counts = np.bincount(drawn.ravel(), minlength=40)
    assert set(np.flatnonzero(counts)) == set(corpus.train)
    expected = drawn.size / len(corpus.train)
    assert np.abs(counts[corpus.train] - expected).max() < 4 * np.sqrt(expected)
    rows, labels = jax.jit(jax.vmap(lambda key: draw_class_balanced(key, view, 16, by_length=True)))(keys)
    np.testing.assert_array_equal(corpus.label[np.asarray(rows)], labels)
    by_class = np.bincount(np.asarray(labels).ravel())
    assert np.abs(by_class - labels.size / 3).max() < 4 * np.sqrt(labels.size / 3)
    for one in range(3):
        of_class = corpus.train[corpus.label[corpus.train] == one]
        counts = np.bincount(np.asarray(rows)[np.asarray(labels) == one], minlength=40)[of_class]
        assert np.abs(counts - counts.mean()).max() < 4 * np.sqrt(counts.mean())


@pytest.mark.parametrize("limit", [60, 10**6])
def test_every_row_is_embedded_as_if_alone(corpus, train, monkeypatch, limit):
    monkeypatch.setattr(frames_module, "CHUNK_VALUES", limit)
    given = case(corpus, ("audio", "text"), HAS_TEXT)
    stage, run, shared = given.stage(), given.run(), given.features()
    state, _ = train(stage, shared, run, STEPS)
    chunks, audio, text = given.embed(stage, state, shared, run)
    assert (len(chunks.rows) > 5) == (limit == 60)
    assert audio.shape == text.shape == (40, 3)
    alone = jax.jit(lambda row: stage._model.apply(state.params["aligner"], *stage._read(shared, run.view, row, 4, 4)))
    for row in range(0, 40, 3):
        aligned = alone(jnp.array([row]))
        np.testing.assert_allclose(audio[row], aligned.audio[0], atol=1e-5)
        if HAS_TEXT[row]:
            np.testing.assert_allclose(text[row], aligned.text[0], atol=1e-5)


def test_runs_side_by_side_are_runs_by_themselves(corpus):
    """As on an accelerator, where runs are batched."""
    given = case(corpus, ("audio", "text"), HAS_TEXT)
    label = np.where(np.arange(40) < 15, -1, corpus.label).astype(np.int32)
    runs = [given.run(), given.run(label=label, rows=corpus.train[5:])]
    bounds = {f"{name}_bounds": tile_bounds(runs, each, 16) for name, each in given.frames.items()}
    stage, shared = dataclasses.replace(PLAIN, **bounds), given.features()
    params = jax.jit(stage.init)(shared, runs[0], jax.random.key(0))

    def step(run):
        gradients, terms = stage.gradients(params, shared, run, jax.random.key(1))
        return gradients, terms, stage.embed(params, shared, (run, np.arange(8)), jax.random.key(1), 40, 40)

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
    together = jax.jit(jax.vmap(step))(stacked)
    alone = jax.jit(lambda stacked: jax.lax.map(step, stacked))(stacked)
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("which", [(), ("audio", "text")])
def test_text_of_rows_without_any_is_never_read(corpus, train, same, which):
    given = case(corpus, which, HAS_TEXT)
    before, _ = train(given.stage(), given.features(), given.run(), STEPS)
    text = corpus.text.copy()
    text[~HAS_TEXT] = np.nan
    after, terms = train(given.stage(), given.features(text=text), given.run(text=text), STEPS)
    assert same(before, after) and all(np.isfinite(values).all() for values in terms.values())


def test_audio_of_rows_without_text_teaches_its_head_and_no_pair(corpus, train, same):
    given = case(corpus, (), HAS_TEXT)
    labelled = ~HAS_TEXT & (corpus.label >= 0) & np.isin(np.arange(40), corpus.train)
    assert labelled.any()
    audio = corpus.audio.copy()
    audio[labelled] += 1.0
    for class_weight, untouched in ((1.0, False), (0.0, True)):
        run = given.run(class_weight=class_weight)
        before, _ = train(given.stage(), given.features(), run, STEPS)
        after, _ = train(given.stage(), given.features(audio=audio), run, STEPS)
        assert same(before, after) == untouched
    # Labels of rows without text reach the head on h, not those that read text.
    label = corpus.label.copy()
    label[labelled] = (label[labelled] + 1) % 3
    states = [
        train(given.stage(), given.features(), given.run(label=each), 1)[0].params["aligner"]["params"]
        for each in (corpus.label, label)
    ]
    assert not same(states[0]["audio_head"], states[1]["audio_head"])
    assert same(states[0]["text_head"], states[1]["text_head"]) and same(states[0]["joint_head"], states[1]["joint_head"])

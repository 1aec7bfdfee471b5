"""Checkpoints: round trips, retention, and that damage, full disks and other structures are refused."""

import errno
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from infoser import checkpoints as module
from infoser import digests
from infoser.checkpoints import Checkpoints
from infoser.digests import damage
from infoser.errors import InfoserError

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((3, 50)).astype(np.float32)
TREE = {"state": {"weights": WEIGHTS, "count": np.array(7, np.int32)}, "seen": np.arange(4)}


TRAINED_ON = {"fold 1": np.array([3, 2**64 - 1], np.uint64), "fold 2/é": np.zeros(0, np.uint64)}


def zeros(tree):
    return jax.tree.map(np.zeros_like, tree)


def check_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


def test_round_trip_of_every_kind_of_leaf(tmp_path):
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}
    tree = jax.tree.map(
        np.asarray,
        {
            "params": params,
            "optimizer": optax.adam(1e-3).init(params),
            "half": jnp.arange(4, dtype=jnp.bfloat16),
            "key": jax.random.key_data(jax.random.key(3)),
            "hashes": np.array([0, 2**64 - 1], np.uint64),
            "double": np.array([1e300, np.nan, -np.inf]),
            "flags": np.array([True, False]),
            "scalar": np.float32(0.1),
            "named é": {"of 1/2": np.arange(3)},
        },
    )
    Checkpoints(tmp_path).save(3, tree, TRAINED_ON)
    restored = Checkpoints(tmp_path).restore(zeros(tree))
    assert restored is not None and restored.step == 3
    check_equal(restored.state, tree)
    check_equal(restored.trained_on, TRAINED_ON)


def test_nothing_saved_is_nothing_restored(tmp_path):
    assert Checkpoints(tmp_path / "never").restore(TREE) is None
    assert Checkpoints(tmp_path / "never").steps() == []
    assert not (tmp_path / "never").exists()


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Steps 10 and 200 of three that were saved."""
    folder = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(folder)
    for step in (9, 10, 200):
        checkpoints.save(step, TREE | {"seen": TREE["seen"] + step}, TRAINED_ON)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(saved, tmp_path / "copy")


def test_the_newest_two_are_kept(saved):
    assert Checkpoints(saved).steps() == [10, 200]
    assert sorted(path.name for path in saved.iterdir()) == ["step_10", "step_200"]
    newest, given = Checkpoints(saved).restore(TREE), Checkpoints(saved).restore(TREE, step=10)
    assert newest is not None and given is not None
    assert (newest.step, given.step) == (200, 10)
    np.testing.assert_array_equal(newest.state["seen"], TREE["seen"] + 200)
    np.testing.assert_array_equal(given.state["seen"], TREE["seen"] + 10)
    assert Checkpoints(saved).restore(TREE, step=9) is None


def flip(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def test_a_flipped_bit_in_any_file_is_refused(folder):
    rng = np.random.default_rng(1)
    files = [path for path in sorted((folder / "step_200").rglob("*")) if path.is_file() and path.stat().st_size]
    assert len(files) > 3
    for file in files * 3:
        original = file.read_bytes()
        flip(file, rng)
        with pytest.raises(InfoserError, match="delete .*step_200 to go on from step 10") as refusal:
            Checkpoints(folder).restore(TREE)
        # A digest list that cannot be told from a valid one accuses a file that it lists.
        assert file.name == "digest.json" or str(file) in str(refusal.value)
        file.write_bytes(original)
    restored = Checkpoints(folder).restore(TREE)
    assert restored is not None and restored.step == 200


def test_missing_and_added_files_are_damage(folder):
    step = folder / "step_200"
    (step / "state" / "stray").write_bytes(b"")
    assert damage(step) == step / "state" / "stray"
    (step / "state" / "stray").unlink()
    assert damage(step) is None
    victim = max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    victim.unlink()
    assert damage(step) == victim


def test_with_all_steps_damaged_training_anew_is_the_way_out(folder):
    for step in ("step_10", "step_200"):
        (folder / step / "digest.json").write_text("[]")
    with pytest.raises(InfoserError, match=f"digest.json is damaged .* delete {folder} to train it anew"):
        Checkpoints(folder).restore(TREE)


def test_a_step_without_its_digests_does_not_count(folder):
    (folder / "step_200" / "digest.json").unlink()
    assert Checkpoints(folder).steps() == [10]
    restored = Checkpoints(folder).restore(TREE)
    assert restored is not None and restored.step == 10
    # Training on from step 10 saves it anew, over what is left there.
    Checkpoints(folder).save(200, TREE, TRAINED_ON)
    restored = Checkpoints(folder).restore(TREE)
    assert restored is not None and restored.step == 200
    check_equal(restored.state, TREE)


@pytest.mark.parametrize("moment", ["arrays", "utterances", "digests"])
def test_a_full_disk_leaves_earlier_steps_alone(folder, monkeypatch, moment):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if moment == "arrays":
        monkeypatch.setattr(module._orbax(), "save", full)
    elif moment == "utterances":
        monkeypatch.setattr(np, "savez", full)
    else:
        monkeypatch.setattr(digests, "seal", full)
    with pytest.raises(InfoserError, match="step_300 can't be written: .*No space left on device"):
        Checkpoints(folder).save(300, TREE, TRAINED_ON)
    monkeypatch.undo()
    assert not (folder / "step_300").exists()
    assert Checkpoints(folder).steps() == [10, 200]
    assert damage(folder / "step_10") is None and damage(folder / "step_200") is None


@pytest.mark.parametrize(
    "other",
    [
        {"state": TREE["state"]},
        TREE | {"more": np.zeros(2)},
        TREE | {"state": {"weights": WEIGHTS}},
        {"state": {"weights": np.zeros((3, 51), np.float32), "count": np.array(0, np.int32)}, "seen": TREE["seen"]},
    ],
    ids=["less", "more", "less inside", "other shape"],
)
def test_another_structure_is_refused(saved, other):
    with pytest.raises(InfoserError, match="step_200"):
        Checkpoints(saved).restore(other)


def test_digests_cover_every_file(saved):
    step = saved / "step_200"
    recorded = json.loads((step / "digest.json").read_text())
    present = {path.relative_to(step).as_posix() for path in step.rglob("*") if path.is_file()} - {"digest.json"}
    assert set(recorded) == present and all(len(digest) == 64 for digest in recorded.values())

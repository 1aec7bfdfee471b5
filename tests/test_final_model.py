"""A final model has the seeds that it was trained with: others are refused before anything is trained."""

import dataclasses
from pathlib import Path

import pytest

from infoser import experiment, final_folder, presets, run_folder
from infoser.errors import InfoserError


def test_other_seeds_are_refused_with_what_to_do(tmp_path: Path) -> None:
    final_folder.check_final(tmp_path, "infogan", (0, 1))  # there is none
    (tmp_path / run_folder.FINAL).mkdir()
    final_folder.write_final(tmp_path, "infogan", (0,))
    final_folder.check_final(tmp_path, "infogan", (0,))
    final_folder.check_final(tmp_path, "none", (0, 1))  # another variant's is refitted beside it
    final_folder.write_final(tmp_path, "none", (0, 1))
    assert final_folder.read_final(tmp_path) == "none"
    for variant, seeds in (("infogan", "0"), ("none", "0 1")):
        with pytest.raises(
            InfoserError, match=f"final model of {variant} with seeds {seeds}, .*leave --final out.* seeds 0 1 2"
        ):
            final_folder.check_final(tmp_path, variant, (0, 1, 2))


@pytest.mark.parametrize("damaged", ["{", "[]", "3", '{"variant": "none"}', '{"variant": "none", "seeds": 3}'])
def test_where_nothing_tells_it_is_trained_again(tmp_path: Path, damaged: str) -> None:
    (tmp_path / run_folder.FINAL).mkdir()
    final_folder.write_final(tmp_path, "none", (0,))
    (path,) = (tmp_path / run_folder.FINAL).iterdir()
    path.write_text(damaged)
    final_folder.check_final(tmp_path, "none", (0, 1))
    final_folder.write_final(tmp_path, "none", (0, 1))
    assert final_folder.final_seeds(tmp_path, "none") == (0, 1)


def test_it_is_restored_with_its_own_seeds(tmp_path: Path) -> None:
    config = dataclasses.replace(presets.parse(["demo"]), seeds=(0, 1, 2))
    assert experiment.restored_final(tmp_path, config, "none").seeds == (0, 1, 2)
    (tmp_path / run_folder.FINAL).mkdir()
    final_folder.write_final(tmp_path, "none", (0, 1))
    restored = experiment.restored_final(tmp_path, config, "none")
    assert restored.seeds == (0, 1) and restored == dataclasses.replace(experiment.final_config(config, "none"), seeds=(0, 1))

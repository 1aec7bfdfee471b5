"""A finished final model is refused seeds that it does not have, before anything is trained."""

from pathlib import Path

import pytest

from infoser import run_folder
from infoser.errors import InfoserError


def test_other_seeds_are_refused_with_what_to_do(tmp_path: Path) -> None:
    run_folder.check_final(tmp_path, "infogan", (0, 1))  # there is none
    (tmp_path / run_folder.FINAL).mkdir()
    run_folder.write_final(tmp_path, "infogan", (0,))
    assert run_folder.read_final(tmp_path) == "infogan"
    run_folder.check_final(tmp_path, "infogan", (0,))
    run_folder.check_final(tmp_path, "none", (0, 1))  # another variant's is refitted beside it
    with pytest.raises(InfoserError, match=r"a final model of seeds 0, .*delete .*final to have it refitted with seeds 0 1"):
        run_folder.check_final(tmp_path, "infogan", (0, 1))

"""Imports go down the layers only, devices are known in one place, and light modules stay light."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom to the top; a package stands for all its modules. A new module is put in its layer here.
LAYERS = (
    ("errors",),
    (
        "ablations",
        "arms",
        "bars",
        "batch_axis",
        "bounds",
        "cached_arrays",
        "candidates",
        "cells",
        "class_map",
        "compilation_cache",
        "commandline",
        "concerns",
        "config",
        "corpus",
        "demo",
        "digests",
        "event_files",
        "host_resources",
        "hosts",
        "links",
        "locks",
        "losses",
        "memory_maps",
        "metrics",
        "overrides",
        "parts",
        "presets",
        "progress",
        "recordings",
        "saved_config",
        "shared_classes",
        "run_folder",
        "final_folder",
        "synthetic",
        "threefry",
        "validation",
        "variants",
    ),
    (
        "augmenters",
        "checkpoints",
        "corpora",
        "cross_fitting",
        "encoders",
        "exchange",
        "fold_view",
        "frame_table",
        "inner_folds",
        "leakage",
        "lifting",
        "models",
        "overlap",
        "parallel",
        "protocols",
        "scored_subsets",
        "selection",
        "shard_cache",
        "shard_records",
        "shards",
        "strata",
        "synthetic_folds",
    ),
    ("cross_target", "joining", "shard_writer", "stages", "streaming"),
    ("group",),
    ("trainer",),
    ("matrix",),
    ("amounts", "spaces"),
    ("generators", "teacher"),
    ("pools",),
    ("runs",),
    ("execution", "prediction_table", "quality", "results"),
    ("budget", "choosing"),
    ("nested",),
    ("planning",),
    ("experiment",),
    ("cross_scoring", "export", "inspection", "prediction", "report", "sklearn"),
    ("train", "eval"),
)
LAYER = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in [*sorted((ROOT / "infoser").rglob("*.py")), ROOT / "train.py", ROOT / "eval.py"]}


def imported(name: str) -> set[str]:
    """Every module that the module's source imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{name} imports relatively"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {one for one in submodules if one in FILES} or {node.module}
    return found


def layer(name: str) -> int:
    return LAYER[name.removeprefix("infoser.").split(".")[0]]


IMPORTS = {name: imported(name) for name in FILES}
OWN = {name: {one for one in modules if one in FILES and one != "infoser"} for name, modules in IMPORTS.items()}
MODULES = sorted(set(FILES) - {"infoser"})


def test_every_module_has_a_layer():
    assert len(MODULES) > 30
    assert {name.removeprefix("infoser.").split(".")[0] for name in MODULES} <= set(LAYER)


def test_imports_only_go_down():
    upward = [(name, one) for name in MODULES for one in OWN[name] if layer(one) > layer(name)]
    assert not upward
    assert not OWN["infoser"]


def test_imports_have_no_cycle():
    order = list(graphlib.TopologicalSorter(OWN).static_order())
    assert set(order) == set(FILES)


def test_stages_do_not_know_each_other():
    shared = {f"infoser.stages.{name}" for name in ("conditions", "networks", "schedule")}
    stages = {name for name in MODULES if name.startswith("infoser.stages.")} - shared
    assert len(stages) >= 4
    assert not [(name, one) for name in stages for one in OWN[name] & stages]


def test_entry_points_are_imported_by_nobody():
    assert not [name for name in MODULES if OWN[name] & {"train", "eval"}]


def test_nothing_imports_dataset_builders():
    outside = [(name, one) for name in FILES for one in IMPORTS[name] if one.split(".")[0] in ("datasets", "prepare")]
    assert not outside


def test_one_module_maps_over_devices():
    words = {"pmap", "shard_map", "device_put", "local_devices", "devices", "Mesh", "NamedSharding"}
    users = {}
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            word = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
            if word in words and not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)):
                users.setdefault(word, set()).add(name)
    assert users.pop("pmap") == {"infoser.parallel"}
    assert set().union(*users.values()) - {"infoser.parallel", "infoser.exchange"} == set()


@pytest.mark.parametrize("name", ["config", "presets", "shards", "demo", "sklearn"])
def test_light_modules_import_no_framework(name):
    code = f"import sys, infoser.{name}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    modules = set(result.stdout.split())
    assert f"infoser.{name}" in modules
    assert not modules & {"jax", "flax", "optax", "orbax", "tensorflow_datasets", "torch", "matplotlib"}

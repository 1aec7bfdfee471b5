"""What no run could use is refused before anything is compiled or written."""

import dataclasses
import re
from typing import Any

from infoser.bounds import NUMBER, validate_integer, validate_number
from infoser.config import Config, Hosts
from infoser.errors import InfoserError
from infoser.variants import GENERATORS


def validate(config: Config) -> None:
    """Refuses values that no run could use.

    Raises:
      InfoserError: naming the flag, its value and what is allowed.
    """
    for flag, values in (("--variants", config.variants), ("--seeds", config.seeds)):
        if not values:
            raise InfoserError(f"{flag} needs at least one value")
    for flag, values in (
        ("--variants", config.variants),
        ("--aligned-variants", config.aligned_variants),
        ("--joined-variants", config.joined_variants),
        ("--seeds", config.seeds),
        ("--folds", config.folds),
        ("--ablate", config.ablate),
    ):
        repeated = sorted({str(value) for value in values if values.count(value) > 1})
        if repeated:
            raise InfoserError(f"{flag} names {', '.join(repeated)} more than once")
    negative = [seed for seed in config.seeds if not 0 <= seed < 2**31]
    if negative:
        raise InfoserError(f"--seeds {negative[0]}: a seed is an integer from 0 to 2147483647")
    for space, variants in (("aligned", config.aligned_variants), ("joined", config.joined_variants)):
        if config.space == space and variants:
            raise InfoserError(f"--{space}-variants adds to another space; with --space {space} name them in --variants")
    _validate_corpora(config)
    _validate_generators(config)
    for stage in ("align", "generate", "augment", "classify"):
        _validate_stage(stage, getattr(config, stage))
    if config.keep_partner and config.protocol not in ("auto", "speaker"):
        raise InfoserError(
            f"--keep-partner is for --protocol speaker; --protocol {config.protocol} holds nobody's partner back"
        )
    if config.final_variant != "none" and not config.final:
        raise InfoserError(f"--final-variant {config.final_variant} says what --final refits; give --final too")
    _validate_selection(config)
    validate_integer("--chunk-steps", config.chunk_steps)
    validate_integer("--accumulate", config.accumulate)
    validate_integer("--virtual-shards", config.virtual_shards)
    if config.virtual_shards > 2**15:  # draws are computed in 32 bits
        raise InfoserError(f"--virtual-shards {config.virtual_shards}: must be at most {2**15}")
    validate_number("--resident-gib", config.resident_gib, NUMBER)
    validate_number("--label-fraction", config.label_fraction, NUMBER | {"low_open": True, "high": 1.0, "high_open": False})
    validate_number("--max-group-gib", config.max_group_gib, NUMBER | {"low_open": True})
    validate_number("--checkpoint-every-s", config.checkpoint_every_s, NUMBER)
    _validate_hosts(config.hosts)
    if config.budget:
        seconds(config.budget)
    if config.align.batch_size < 2:
        raise InfoserError("--align.batch-size must be at least 2: a pair needs another to be told from")
    if config.align.cross_fits < 2:
        raise InfoserError("--align.cross-fits must be at least 2: a row is embedded by an aligner that left its label out")


def seconds(budget: str) -> int:
    """The seconds that a text such as 2h, 30m, 90s or 1h30m says; raises InfoserError if it says none."""
    read = re.fullmatch(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?", budget)
    total = sum(int(part or 0) * unit for part, unit in zip(read.groups(), (3600, 60, 1), strict=True)) if read else 0
    if not total:
        raise InfoserError(f"--budget {budget!r}: give a time such as 2h, 30m, 90s or 1h30m")
    return total


def _validate_selection(config: Config) -> None:
    """Refuses settings of selection without it, and what selection can't go with."""
    if config.select == "off":
        for flag, given in (("--candidates", config.candidates), ("--none-candidates", config.none_candidates)):
            if given:
                raise InfoserError(f"{flag} is what --select dev chooses among; give --select dev too")
        return
    if config.budget:
        raise InfoserError("--budget can't tell what --select dev is going to choose; leave one of them out")
    if config.final:
        raise InfoserError(
            "--final refits one variant on all utterances, and --select dev chooses one for every fold; refit the variant and "
            "settings that you want in a run folder of their own"
        )


def _validate_corpora(config: Config) -> None:
    """Refuses settings of several corpora that contradict each other, or that a single one has no use for."""
    data = config.data
    others = (*data.train_with, *((data.test_corpus,) if data.test_corpus else ()))
    names = [data.name, *(name.partition("/")[0] for name in others)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InfoserError(
            f"corpus {repeated[0]!r} is named twice among --data.name, --data.train-with and --data.test-corpus; name it once"
        )
    if not others:
        for flag, given in (("--data.classes", data.classes), ("--data.normalise", data.normalise != "training")):
            if given:
                raise InfoserError(
                    f"{flag} is about several corpora; name another with --data.test-corpus or --data.train-with"
                )
    if config.protocol == "corpus" and not data.train_with:
        raise InfoserError("--protocol corpus leaves one of several corpora out; name the others with --data.train-with")
    if (config.protocol == "cross-corpus" or data.test_corpus) and not (
        config.protocol in ("auto", "cross-corpus") and data.test_corpus
    ):
        raise InfoserError(
            "--data.test-corpus and --protocol cross-corpus belong together: give the corpus, and no other protocol"
        )
    if data.test_corpus and config.final:
        raise InfoserError(
            "--final refits on all labelled utterances, and those of --data.test-corpus are not to be trained on; leave one out"
        )


def _validate_generators(config: Config) -> None:
    """Refuses settings of generators that contradict each other, or that a variant can't follow."""
    generate = config.generate
    if generate.batch_size % max(generate.pack, 1):
        raise InfoserError(
            f"--generate.pack {generate.pack}: must divide --generate.batch-size {generate.batch_size}, which D judges in packs"
        )
    if config.augment.teacher_parts < 2:
        raise InfoserError("--augment.teacher-parts must be at least 2: a row is taught by a head that left its speaker out")
    named = (
        *config.variants,
        *config.aligned_variants,
        *config.joined_variants,
        *((config.final_variant,) if config.final else ()),
    )
    diffusion = [name for name in named if name in GENERATORS and GENERATORS[name].model == "diffusion"]
    asked = {"--generate.keep-by": generate.keep_by, "--generate.label-by": generate.label_by}
    for flag, value in asked.items():
        if diffusion and value in ("discriminator", "recogniser", "consensus"):
            raise InfoserError(f"{flag} {value}: {diffusion[0]} has neither discriminator nor recogniser; teacher can judge it")
    if "diffusion-unconditional" in named and generate.label_by != "teacher":
        raise InfoserError("diffusion-unconditional knows no emotion of its rows; add --generate.label-by teacher")
    if diffusion and generate.curriculum < 1 and generate.keep_by != "teacher":
        raise InfoserError(
            f"--generate.curriculum: nothing says how sure a row of {diffusion[0]} is; add --generate.keep-by teacher"
        )


def _validate_hosts(hosts: Hosts) -> None:
    for name in ("wait_s", "silence_s"):
        bounds = {entry.name: entry.metadata for entry in dataclasses.fields(hosts)}[name]
        validate_number(f"--hosts.{name.replace('_', '-')}", getattr(hosts, name), bounds)
    if (hosts.coordinator, hosts.count, hosts.index) == ("", 0, -1):
        return
    if not hosts.coordinator or hosts.count == 0 or hosts.index == -1:
        raise InfoserError("--hosts.coordinator, --hosts.count and --hosts.index belong together: give all three, or none")
    validate_integer("--hosts.count", hosts.count)
    if not 0 <= hosts.index < hosts.count:
        raise InfoserError(f"--hosts.index {hosts.index}: of {hosts.count} hosts the last is {hosts.count - 1}, the first 0")
    name, _, port = hosts.coordinator.rpartition(":")
    if not name or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InfoserError(f"--hosts.coordinator {hosts.coordinator!r}: give HOST:PORT, the port from 1 to 65535")


def _validate_stage(stage: str, config: Any) -> None:
    for entry in dataclasses.fields(config):
        value, flag = getattr(config, entry.name), f"--{stage}.{entry.name.replace('_', '-')}"
        if isinstance(value, float):
            validate_number(flag, value, entry.metadata)
        elif isinstance(value, int) and not isinstance(value, bool):
            validate_integer(flag, value)

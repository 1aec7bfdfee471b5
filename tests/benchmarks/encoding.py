"""How fast recordings are encoded, beside the bare model on the same waveforms in the same length-bucketed batches.

By hand: python tests/benchmarks/encoding.py [FOLDER [EVERY]]. The folder holds recordings (wav or flac), of which every
EVERY-th is taken; without it, those of nEMO in ../shared/data. The model is a wav2vec2 with random weights, with either kind
of norm in its convolutions, on one thread. Both sides take turns, batch by batch, and the time is that of the processor, so
that what else the machine does counts little; the clock's ratio is given beside it. For models with group norm the bare
model's numbers depend on the padding, which ours do not.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

from infoser.encoders.audio import load_audio_encoder
from infoser.encoders.batches import padding_share, plan_batches
from infoser.encoders.waveform import read_audio

NEMO = Path(__file__).parents[3] / "shared" / "data" / "nemo_subset" / "audio"
BATCH_S, ITEMS = 60.0, 64
SHAPE: dict[str, Any] = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}


def bare(model: Any, extractor: Any, waveforms: list[np.ndarray], *, masked: bool) -> None:
    """What a script would do: normalise, pad, and call the model."""
    inputs = extractor(waveforms, sampling_rate=16_000, padding=True, return_attention_mask=masked, return_tensors="pt")
    with torch.inference_mode():
        model(**inputs).last_hidden_state.numpy()


def compare(norm: str, waveforms: list[np.ndarray], batches: list[np.ndarray]) -> np.ndarray:
    """Seconds of our encoder and of the bare model (rows) for all batches, by the processor and by the clock (columns)."""
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(**SHAPE, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    with tempfile.TemporaryDirectory() as folder:
        transformers.Wav2Vec2Model(config).save_pretrained(folder)
        extractor = transformers.Wav2Vec2FeatureExtractor()
        extractor.save_pretrained(folder)
        encoder = load_audio_encoder(folder, device="cpu")
        model = transformers.Wav2Vec2Model.from_pretrained(folder).eval()
    seconds = np.zeros((2, 2))
    sides = (
        lambda items: encoder.encode(items),
        lambda items: bare(model, extractor, items, masked=norm == "layer"),
    )
    for number, batch in enumerate([batches[-1], *batches]):  # the first is to warm up
        items = [waveforms[row] for row in batch]
        for side in (0, 1) if number % 2 else (1, 0):
            start = np.array([time.process_time(), time.perf_counter()])
            sides[side](items)
            seconds[side] += (np.array([time.process_time(), time.perf_counter()]) - start) * (number > 0)
    return seconds


def main(folder: Path, every: int) -> int:
    """Prints the table; returns the exit status."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".wav", ".flac"))[::every]
    if not paths:
        print(f"no wav or flac file in {folder}", file=sys.stderr)
        return 2
    start = time.perf_counter()
    waveforms = [read_audio(path, 16_000).samples for path in paths]
    reading = time.perf_counter() - start
    lengths = np.array([len(one) for one in waveforms])
    batches = plan_batches(lengths, round(BATCH_S * 16_000), ITEMS)
    audio_s = lengths.sum() / 16_000
    title = f"{len(paths)} recordings, {audio_s / 60:.1f} minutes; read and resampled in {reading:.1f} s; "
    title += f"{len(batches)} batches, {100 * padding_share(lengths, batches):.1f} % padding"
    table = Table("norm", "ours, × real time", "bare model, × real time", "ratio", "ratio by the clock", title=title)
    for norm in ("layer", "group"):
        ours, plain = compare(norm, waveforms, batches)
        speeds = [f"{audio_s / side[0]:.1f}" for side in (ours, plain)]
        table.add_row(norm, *speeds, *(f"{ratio:.3f}" for ratio in plain / ours))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else NEMO, int(sys.argv[2]) if len(sys.argv) > 2 else 1))

"""A pretrained PyTorch model that gives hidden states of one layer, and whether padding changes them."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from infoser.encoders.encoder import extra
from infoser.encoders.layers import layer_bounds, resolve_layer
from infoser.encoders.pretrained import Pretrained
from infoser.errors import InfoserError

_PRECISIONS = ("float32", "bfloat16", "float16")
#: What rounding may change in float32, relative to the largest value; padding that leaks changes far more.
_ROUNDING = 2e-5
#: A convolution's error relative to its result's norm in bfloat16 or float16: some 0.003 where it is rounding.
_WRONG = 0.05
#: Parameters that no hidden state in evaluation depends on, which a checkpoint may lack: heads, and what masks in training.
_UNUSED = ("pooler", "masked_spec_embed", "mask_emb")


class HiddenStates:
    """A model's hidden states at one layer, as float32 arrays.

    Attributes:
      model: the PyTorch module.
      layer: which, resolved against the model once `choose_layer` was called.
      dim: their width.
    """

    def __init__(self, model: Any, what: str):
        self.model = model
        self.layer, self.dim = "last", 0
        self._what = what
        self._bounds: tuple[int, int] | None = None
        self._torch = extra("torch")
        self._dtype = self._torch.float32
        self._device = self._torch.device("cpu")

    def choose_layer(self, layer: str, **sample: Any) -> None:
        """Resolves the layer by encoding a sample.

        Raises:
          InfoserError: if the model gives no hidden states, or has no such layer.
        """
        try:
            output = self._run(sample, every_layer=True)
            states, last = output.hidden_states, output.last_hidden_state
        except (AttributeError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise InfoserError(f"encoder {self._what} gives no hidden states: {error}") from error
        if not states or last is None or last.ndim != 3:
            raise InfoserError(f"encoder {self._what} gives no sequences of hidden states")
        self.layer = resolve_layer(layer, len(states), f"encoder {self._what}")
        self._bounds = layer_bounds(self.layer)
        self.dim = int((last if self._bounds is None else states[self._bounds[0]]).shape[-1])

    def place(self, precision: str, device: str) -> None:
        """Moves the model; raises InfoserError for a device that isn't there."""
        torch = self._torch
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._dtype = getattr(torch, precision)
        try:
            self._device = torch.device(chosen)
            self.model.to(self._device, self._dtype)
        except (RuntimeError, AssertionError, ImportError) as error:
            why = str(error).splitlines()[0]
            raise InfoserError(
                f"device {device!r} can't be used ({why}); give auto, cpu, or cuda where PyTorch has it"
            ) from error
        if self._dtype != torch.float32:
            widen_wrong_convolutions(self.model)

    def __call__(self, **inputs: Any) -> np.ndarray:
        """(batch, frames, dim) float32 of inputs given as NumPy arrays."""
        output = self._run(inputs, every_layer=self._bounds is not None)
        if self._bounds is None:
            states = output.last_hidden_state
        else:
            first, last = self._bounds
            states = self._torch.stack([each.float() for each in output.hidden_states[first : last + 1]]).mean(0)
        found = states.float().cpu().numpy()
        if not np.isfinite(found).all():
            used = str(self._dtype).removeprefix("torch.")
            wider = "" if used == "float32" else "; take --precision float32"
            raise InfoserError(f"encoder {self._what} gave values that are not finite, in {used}{wider}")
        return found

    def _run(self, inputs: dict[str, Any], *, every_layer: bool) -> Any:
        torch = self._torch
        tensors = {}
        for name, array in inputs.items():
            tensor = torch.from_numpy(np.ascontiguousarray(array))
            tensors[name] = tensor.to(self._device, self._dtype if tensor.is_floating_point() else None)
        # A GPU may round convolutions to 10 bits unless told otherwise.
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")  # WavLM's own business
            return self.model(**tensors, output_hidden_states=every_layer, return_dict=True)


def check_precision(precision: str) -> None:
    """Raises InfoserError for a precision that there isn't."""
    if precision not in _PRECISIONS:
        raise InfoserError(f"precision {precision!r}: choose one of {', '.join(_PRECISIONS)}")


def load_model(pretrained: Pretrained, kind: str, main_input: Sequence[str]) -> Any:
    """The model in evaluation mode, float32, on the CPU; never code or pickles from the checkpoint.

    Args:
      pretrained: its files.
      kind: what it is to encode ("audio"), for messages.
      main_input: names of the inputs that a model of that kind takes.

    Raises:
      InfoserError: if transformers can't load it, it takes something else, or the checkpoint lacks weights that matter.
    """
    extra("torch")
    transformers = extra("transformers")
    extra("safetensors")
    with loading(pretrained.id), quiet():
        model, found = transformers.AutoModel.from_pretrained(
            pretrained.folder,
            dtype="float32",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,  # said aloud: left out, transformers asks at the terminal
            output_loading_info=True,
        )
    if model.main_input_name not in main_input:
        raise InfoserError(
            f"encoder {pretrained.id}: a {model.config.model_type} model takes {model.main_input_name}, not {kind}"
        )
    missing = sorted(name for name in found["missing_keys"] if not any(part in name.split(".") for part in _UNUSED))
    if missing:
        raise InfoserError(
            f"encoder {pretrained.id}: the checkpoint lacks {len(missing)} of its model's weights ({', '.join(missing[:3])}…), "
            "which would be random"
        )
    return model.eval()


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Turns whatever a library says of files that it can't load into one message."""
    try:
        yield
    except InfoserError:
        raise
    except Exception as error:  # a checkpoint can be wrong in any way
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InfoserError(f"encoder {what} can't be loaded: {lines[0] if lines else type(error).__name__}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' reports and bars off the terminal, and what it was set to as it was."""
    logging = extra("transformers").utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def widen_wrong_convolutions(model: Any) -> list[str]:
    """Has grouped convolutions that come out wrong in a model's lower precision run in float32, in place.

    Not taken on trust: with AMX, PyTorch 2.13 and 2.14 give a bfloat16 convolution of 8 channels a group values off by half
    their size. Each is tried on noise, against float32 at the same rounded weights and inputs.

    Returns:
      Names of the modules that now run in float32.
    """
    torch = extra("torch")
    wrong = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Conv1d) or module.groups == 1:
            continue
        noise = np.random.default_rng(0).standard_normal((1, module.in_channels, module.kernel_size[0] + 48))
        wider = InFloat32(copy.deepcopy(module))
        with torch.inference_mode():
            sample = torch.from_numpy(noise).to(module.weight.device, module.weight.dtype)
            expected = wider(sample).float()
            if not torch.linalg.norm(module(sample).float() - expected) < _WRONG * torch.linalg.norm(expected):
                module.forward = InFloat32(module)
                wrong.append(name)
    return wrong


class InFloat32:
    """Runs a module in float32 on inputs of another precision, and rounds what comes out to that."""

    def __init__(self, module: Any):
        self._forward = module.float().forward

    def __call__(self, batch: Any) -> Any:
        return self._forward(batch.float()).to(batch.dtype)


class EachAlone:
    """Runs a module on every item of a padded batch alone, cut to its own length, and pads what comes out with zeros.

    For modules that let padding leak: norms over time, and stacked convolutions without a mask.

    Attributes:
      lengths: of the items, along the input's second axis; None to run the batch as it is.
    """

    def __init__(self, module: Any, time_axis: int):
        self.lengths: list[int] | None = None
        self._module, self._forward, self._time_axis = module, module.forward, time_axis
        module.forward = self

    def __call__(self, batch: Any) -> Any:
        if self.lengths is None:
            return self._forward(batch)
        parts = [self._forward(one[None, :length]) for one, length in zip(batch, self.lengths, strict=True)]
        longest = max(part.shape[self._time_axis] for part in parts)
        shape = list(parts[0].shape)
        shape[0], shape[self._time_axis] = len(parts), longest
        padded = parts[0].new_zeros(shape)
        for row, part in zip(padded, parts, strict=True):
            row.narrow(self._time_axis - 1, 0, part.shape[self._time_axis]).copy_(part[0])
        return padded

    def remove(self) -> None:
        """Gives the module its own forward back."""
        del self._module.forward


def padding_is_harmless(encode: Callable[[list[Any]], list[np.ndarray]], sample: Sequence[Any]) -> bool:
    """Whether items of different lengths come out of one padded batch as they do alone, to rounding."""
    for together, one in zip(encode(list(sample)), sample, strict=True):
        alone = encode([one])[0]
        if together.shape != alone.shape or np.abs(together - alone).max() > _ROUNDING * max(1.0, float(np.abs(alone).max())):
            return False
    return True

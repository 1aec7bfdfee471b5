"""The only module that knows processes: hosts that train one experiment together, and end together when one is lost.

Every host runs the same program. Host 0 coordinates, and alone prints and touches the run folder. The hosts tell each other
that they live, and how they end, through the key-value store of JAX's coordination service, from threads of their own: a long
compilation does not look like death. JAX's own heartbeat, which aborts the process, stands behind.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import glob
import importlib.util
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from infoser import progress
from infoser.config import Hosts
from infoser.errors import InfoserError

#: Exit status of a host that ended because another was lost: try again (sysexits.h).
LOST = 75
_RESUME = "what was saved last stands: start the same command on all hosts again, on fewer, or on one without --hosts, to go on"
_GRACE_S = 5.0  # for a host to come by itself to what another one ended with
_LAST_WORDS_S = 3.0
_ORDERLY, _ENDED = "orderly", "ended"  # how a host left; anything else is its error message


class _Group:
    """This host's connection to the others, and the threads that watch them."""

    def __init__(self, client: Any, index: int, count: int, silence_s: float):
        self.client, self.index, self.count = client, index, count
        self.silence_s = silence_s
        now = time.monotonic()
        self._heard = dict.fromkeys(range(count), now)
        self._reached = now
        self._leaving = self._over = False
        self._failed_at: float | None = None
        self.left: dict[int, str] = {}
        for work in (self._tell, self._judge):
            threading.Thread(target=work, daemon=True).start()

    def _tell(self) -> None:
        """Says every now and then that this host lives, and hears what the others say."""
        number, last = 0, dict[str, str]()
        while not self._over:
            with contextlib.suppress(_runtime_error()):
                self.client.key_value_set(f"infoser/alive/{self.index}", str(number), allow_overwrite=True)
                said = self._read("alive")
                self.left = {int(host): how for host, how in self._read("left").items()}
                self._reached = time.monotonic()
                for host in (host for host in said if said[host] != last.get(host)):
                    self._heard[int(host)] = self._reached
                number, last = number + 1, said
            time.sleep(min(1.0, self.silence_s / 10))

    def _read(self, what: str) -> dict[str, str]:
        return {key.rsplit("/", 1)[1]: value for key, value in self.client.key_value_dir_get(f"infoser/{what}/")}

    def _judge(self) -> None:
        """Ends this process when another host is lost, or ended with an error that does not come up here too."""
        while not self._over:
            time.sleep(0.2)
            now = time.monotonic()
            if now - self._reached > self.silence_s:
                self._end(f"host 0, which coordinates, has not answered for {self.silence_s:g} s; {_RESUME}", LOST)
            for host, heard in self._heard.items():
                if host not in self.left and now - heard > self.silence_s:
                    self._end(f"no sign of life from host {host} for {self.silence_s:g} s; {_RESUME}", LOST)
            failed = {host: how for host, how in self.left.items() if how != _ORDERLY}
            if failed and not self._leaving:
                self._failed_at = self._failed_at or now
                if now - self._failed_at > _GRACE_S:
                    self._end(_others(failed), InfoserError.status)

    def _end(self, message: str, status: int) -> NoReturn:
        with contextlib.suppress(_runtime_error()):
            self.client.key_value_set(f"infoser/left/{self.index}", _ENDED, allow_overwrite=True)
            self._outlast_others()
        _end(message, status)

    def _outlast_others(self) -> None:
        """Without host 0 the others lose their connection, and with it what they were about to say."""
        time.sleep(_LAST_WORDS_S if self.index == 0 else 0.0)

    def leave(self, error: BaseException | None) -> None:
        """Waits until all hosts are ready to end, and ends the connection; the process itself may go on.

        Raises:
          InfoserError: if this host is well and another one is not.
        """
        if isinstance(error, _runtime_error()):
            # What a collective says of a lost peer can't be told from other errors: the threads know, a little later.
            time.sleep(self.silence_s + 1.0)
        self._leaving = True
        how = _ORDERLY if error is None or getattr(error, "agreed", False) else f"{error}" or type(error).__name__
        self.client.key_value_set(f"infoser/left/{self.index}", how, allow_overwrite=True)
        while len(self.left) < self.count:
            time.sleep(0.05)
            with contextlib.suppress(_runtime_error()):
                self.left = {int(host): how for host, how in self._read("left").items()}
        self._over = True
        if _ENDED in self.left.values():  # such a host can't shut down with the others
            self._outlast_others()
            _skip_shutdown(_status(error))
        else:
            import jax

            with contextlib.suppress(_runtime_error()):  # a host that goes now has done its work
                jax.distributed.shutdown()
        failed = {host: how for host, how in self.left.items() if how != _ORDERLY}
        if error is None and failed:
            raise InfoserError(_others(failed))


_group: _Group | None = None


@contextmanager
def connected(settings: Hosts) -> Iterator[None]:
    """Connects the hosts that the settings or the environment name, if any; they leave together.

    Must come before anything that uses devices. One that ends with an error ends the others within seconds, one that dies
    within `settings.silence_s` and a little: they exit with status `LOST` and say how to go on.

    Raises:
      InfoserError: if this host can't coordinate, or its environment can't be understood.
    """
    global _group
    arguments = how_to_connect(settings, os.environ)
    if arguments is None:
        yield
        return
    group = _connect(settings, arguments)
    if group is None:
        yield
        return
    _group = group
    progress.silent = group.index > 0
    try:
        yield
    except BaseException as error:
        group.leave(error)
        raise
    else:
        group.leave(None)
    finally:
        _group, progress.silent = None, False
        _on_abort(None)


def count() -> int:
    """Number of hosts."""
    return 1 if _group is None else _group.count


def index() -> int:
    """This host's number."""
    return 0 if _group is None else _group.index


def primary() -> bool:
    """Whether this host prints, and reads and writes the run folder."""
    return index() == 0


def check_same(what: str, value: str) -> None:
    """Refuses hosts that were not given the same; all must call it, with the same `what`.

    Raises:
      InfoserError: on a host whose value differs from host 0's.
    """
    if _group is None:
        return
    key = f"infoser/same/{what}"
    if _group.index == 0:
        _group.client.key_value_set(key, value, allow_overwrite=True)
        return
    while True:  # host 0 may take long to get here; should it be lost, this process is ended
        with contextlib.suppress(_runtime_error()):
            first = _group.client.blocking_key_value_get(key, 1000)
            break
    if first != value:
        raise InfoserError(f"host {_group.index} has other {what} than host 0: {value} here, {first} there; give all the same")


def meet(name: str, timeout_s: float) -> bool:
    """Waits for all hosts to call this with the same name, which may be used once; whether they came in time."""
    if _group is None:
        return True
    try:
        _group.client.wait_at_barrier(f"infoser/meet/{name}", round(1000 * timeout_s))
    except _runtime_error():
        return False
    return True


def how_to_connect(settings: Hosts, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Arguments of `jax.distributed.initialize`; None for a single host.

    Flags come first, then SLURM (a step of several tasks, as srun starts them), then a TPU machine, whose pod JAX finds.
    """
    if settings.coordinator:
        return {
            "coordinator_address": settings.coordinator,
            "num_processes": settings.count,
            "process_id": settings.index,
            "cluster_detection_method": "deactivate",
        }
    if int(environment.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return {"cluster_detection_method": "slurm", "local_device_ids": _slurm_devices(environment)}
    platforms = environment.get("JAX_PLATFORMS") or "tpu"
    if "tpu" in platforms.split(",") and importlib.util.find_spec("libtpu") is not None and _has_tpu(environment):
        return {}
    return None


def _slurm_devices(environment: Mapping[str, str]) -> list[int] | None:
    """The GPUs of this task; None lets JAX give the n-th task of a node its n-th GPU.

    That is wrong where SLURM shows each task its own GPU only, and wasteful where one task has the node to itself.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    gpus = len(visible.split(",")) if visible else int(environment.get("SLURM_GPUS_ON_NODE") or 0)
    alone = re.match(r"1(\(|,|$)", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return list(range(gpus)) if gpus == 1 or (gpus and alone) else None


def _has_tpu(environment: Mapping[str, str]) -> bool:
    named = any(environment.get(name) for name in ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"))
    return named or os.path.exists("/dev/accel0") or bool(glob.glob("/dev/vfio/[0-9]*"))


def _connect(settings: Hosts, arguments: dict[str, Any]) -> _Group | None:
    import jax
    from jax._src import distributed  # the key-value store has no public name yet; Orbax uses it by this one, too

    jax.config.update("jax_enable_preemption_service", False)  # signals are the trainer's: see `signals_held`
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    _on_abort(
        f"not all hosts came together within {settings.wait_s:g} s (--hosts.wait-s): start the command on every host, each "
        "with its own --hosts.index, and see that host 0's --hosts.coordinator can be reached from all",
        InfoserError.status,
    )
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=max(1, round(settings.wait_s)),
            heartbeat_timeout_seconds=round(settings.silence_s) + 10,
            shutdown_timeout_seconds=30,
        )
    except (RuntimeError, ValueError, OSError) as error:
        where = settings.coordinator or "the address that the environment names"
        raise InfoserError(f"the hosts can't be connected at {where}: {error}; see --hosts in --help") from error
    state = distributed.global_state
    if state.num_processes == 1:
        _on_abort(None)
        return None
    _on_abort(f"the connection between hosts broke: most likely host 0, which coordinates, is gone; {_RESUME}", LOST)
    return _Group(state.client, state.process_id, state.num_processes, settings.silence_s)


_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_handler: Any = None  # C holds no reference


def _on_abort(message: str | None, status: int = LOST) -> None:
    """What this process says last when JAX' runtime aborts it, as it does when the coordinator is lost; None: nothing.

    A handler of Python's `signal` would run after the abort, that is, never.
    """
    global _handler
    libc: Any = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    handler = None if message is None else _HANDLER(lambda _: _end(message, status))
    libc.signal(signal.SIGABRT, None if handler is None else ctypes.cast(handler, ctypes.c_void_p))
    _handler = handler


def _end(message: str, status: int) -> NoReturn:
    """Ends this process at once, whatever its main thread waits for."""
    os.write(2, f"{progress.cursor_back()}\nerror: {message}\n".encode())
    os._exit(status)


def _skip_shutdown(status: int) -> None:
    """Lets the interpreter end without JAX's shutdown, which waits for hosts that are gone."""

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(end)


def _status(error: BaseException | None) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if error is None or isinstance(error, (OSError, MemoryError)):  # as `run_command` has it
        return InfoserError.status
    return getattr(error, "status", 1)


def _others(failed: Mapping[int, str]) -> str:
    """What the hosts that failed by themselves say; the others ended because of them."""
    causes = {host: how for host, how in failed.items() if how != _ENDED} or failed
    return "; ".join(f"host {host} ended: {how}" for host, how in causes.items())


def _runtime_error() -> type[Exception]:
    import jax

    return jax.errors.JaxRuntimeError

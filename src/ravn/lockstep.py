"""Forward passes side by side: all of them wait at a layer until it has become what it shall be."""

import threading
from collections.abc import Collection, Generator, Sequence

import torch
from torch import Tensor, nn

_here = threading.local()


class _StoppedError(Exception):
    """Ends a pass that nobody waits for any more."""


class _Pass:
    """One forward pass in a thread of its own, which runs only while it is waited for.

    Args:
        model: a network.
        batch: what it is called with.
        settled: names at which no pass waits any more.

    Attributes:
        place: name of the module that it waits at; None once it is over.
        inputs: what this module is called with.
    """

    def __init__(self, model: nn.Module, batch: Tensor, settled: Collection[str]) -> None:
        self.place: str | None = None
        self.inputs = batch
        self._settled, self._stopped = settled, False
        self._error: BaseException | None = None
        self._turn, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(model, batch), daemon=True)

    def advance(self) -> None:
        """Go on to the next module at which to wait, or to the end."""
        self.place = None
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._turn.release()
        self._waits.acquire()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the pass wherever it is."""
        self._stopped = True
        if self._thread.ident is not None:
            self._turn.release()
            self._thread.join()

    def wait(self, place: str, inputs: Tensor) -> None:
        """Wait before a module, unless it is settled."""
        if place in self._settled:
            return
        self.place, self.inputs = place, inputs.detach()
        self._waits.release()
        self._turn.acquire()
        if self._stopped:
            raise _StoppedError

    def _run(self, model: nn.Module, batch: Tensor) -> None:
        _here.forward = self
        try:
            with torch.no_grad():
                model(batch)
        except _StoppedError:
            pass
        except BaseException as error:  # raised again where the pass is waited for
            self._error = error
        self.inputs = batch
        self._waits.release()


def lockstep(
    runs: Sequence[tuple[nn.Module, Tensor]], names: Collection[str]
) -> Generator[tuple[str, dict[int, Tensor]], None, None]:
    """Run networks of one structure on batches, and stop all passes before the first call of every named module.

    What is done to a module while they wait, its first call sees already. So a network can be changed layer after
    layer, each by what it is called with under the changes before, in one pass instead of one for every layer. All
    passes are in memory; only one of them computes at a time.

    Args:
        runs: network and batch of every pass.
        names: of modules.

    Yields:
        Name of a module, in the order of the calls, and what it is called with, by the number of the pass; passes that
        never call it are missing. To be closed where it isn't used up.
    """
    settled: set[str] = set()
    passes = [_Pass(model, batch, settled) for model, batch in runs]
    models = {id(model): model for model, _ in runs}.values()
    handles = [_stopping(model.get_submodule(name), name) for model in models for name in names]
    try:
        for each in passes:
            each.advance()
        while (name := next((each.place for each in passes if each.place is not None), None)) is not None:
            here = [number for number, each in enumerate(passes) if each.place == name]
            settled.add(name)
            yield name, {number: passes[number].inputs for number in here}
            for number in here:
                passes[number].advance()
    finally:
        for each in passes:
            each.stop()
        for handle in handles:
            handle.remove()


def _stopping(module: nn.Module, name: str) -> torch.utils.hooks.RemovableHandle:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        """Wait, if it is a pass of ours that calls."""
        forward: _Pass | None = getattr(_here, "forward", None)
        if forward is not None:
            forward.wait(name, next(iter((*inputs, *named.values()))))

    return module.register_forward_pre_hook(hook, with_kwargs=True)

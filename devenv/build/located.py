"""What a step failed with → the same error, with the step's place, in the Containerfile or the manifest, and what it printed last."""

from __future__ import annotations

from devenv.errors import DevenvError, EngineError, Fault, InputError, NotFound, StepFailed
from devenv.model.build import Keyed

from .caption import caption
from .key import moved
from .prepare import Prepared

_SHOWN = 72  # characters of an instruction in a message
_SAID = 5  # lines of a step's output in the message
_ENTER = "with --keep-failed, what the step left can be entered"


def located(prepared: Prepared, keyed: Keyed, error: DevenvError) -> DevenvError:
    """A rendered step is nobody's text: of that the manifest is blamed, as `prepared.blame` knows to."""
    output = error.output if isinstance(error, StepFailed) else ()
    blame = prepared.blame if keyed.step.origins else None
    where, hint, telling = blame(keyed.step, output) if blame else (_line(prepared, keyed), _ENTER, output)
    file, line = (where, 0) if blame else (prepared.graph.file, keyed.step.line)
    if isinstance(error, InputError):
        return InputError(*(moved(fault, file, line) for fault in error.faults))
    if isinstance(error, NotFound):
        return InputError(Fault(file, line, 0, error.message, error.hint))
    if isinstance(error, StepFailed):
        said = "".join(f"\n  │ {line}" for line in telling[-_SAID:])
        return StepFailed(f"{where}: {error.message}{said}", code=error.code, hint=error.hint or hint)
    return EngineError(f"{where}: {error.message}", hint=error.hint)


def _line(prepared: Prepared, keyed: Keyed) -> str:
    return f"{prepared.graph.file}:{keyed.step.line}: {caption(keyed.step.text, _SHOWN)}"

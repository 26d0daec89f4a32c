"""Verifies a patched model against its original: each check has a name, a result and a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onnx import ModelProto

from onnx_jumprelu.errors import DataError, ProvenanceError, RunError, VerificationError, naming
from onnx_jumprelu.files.models import opened
from onnx_jumprelu.runtime import one_line
from onnx_jumprelu.verification.checks import CHECKS, optimized
from onnx_jumprelu.verification.comparison import FailedError, UndecidedError
from onnx_jumprelu.verification.inputs import InputsLike, inputs_of
from onnx_jumprelu.verification.pair import Pair, unpatched
from onnx_jumprelu.verification.structure import StructureError

N_CHECKS = len(CHECKS)
Status = Literal["verified", "wrong", "not comparable"]


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: Its name.
        ok: Whether it holds.
        detail: What was found.
        decided: Whether it could be made; if not, `ok` is False, although nothing wrong was found.
    """

    name: str
    ok: bool
    detail: str
    decided: bool = True

    @property
    def word(self) -> str:
        """The result in a word: `ok`, `FAILED`, or `not decided`."""
        if self.ok:
            return "ok"
        return "FAILED" if self.decided else "not decided"


@dataclass(frozen=True)
class VerifyReport:
    """All checks in order, and notes that explain but do not affect the result."""

    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        listed = ", ".join(f"{check.name}: {check.word}" for check in self.checks)
        return f"VerifyReport(ok={self.ok}; {listed})"

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    @property
    def status(self) -> Status:
        """`verified`; `wrong` where a check failed; `not comparable` where none failed and some could not be made."""
        if self.ok:
            return "verified"
        failed = any(check.decided and not check.ok for check in self.checks)
        return "wrong" if failed else "not comparable"


def verify(
    original: ModelProto | str | Path,
    patched: ModelProto | str | Path,
    x: InputsLike = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    on_check: Callable[[Check], None] | None = None,
) -> VerifyReport:
    """Prove that `patched` is `original` with JumpReLU at its activation sites, and nothing else.

    Checks, in order: `checker` (onnx accepts the patched model), `session` (onnxruntime loads it), `structure` (outside
    the sites both graphs are the same), `record` (what the file says of its patch is what its graph does), `sites`
    (each site's nodes equal JumpReLU bit for bit, alone and inside the running model), `jump 0` (with all jumps set to
    0 and graph optimizations off, outputs equal the original's bit for bit). The sign of zero is ignored.

    A model whose element types onnxruntime's CPU provider lacks (bfloat16) runs in onnx's reference evaluator.

    Args:
        original: The model before the patch, or its file. If it is itself patched, its own original is used.
        patched: The model after it, or its file.
        x: Real inputs: an array or arrays by input name, as the model takes them; `Data` or an `.npz` file, in data
            space. Seeded random ones by default.
        mean: What the model expects subtracted from `Data` or a file's `x`, one value or one per channel.
        std: What it expects them then divided by.
        seed: Seed of the random inputs.
        on_check: Called with each check as it is done.

    Raises:
        ModelFileError: a file that cannot be used.
        DataError: `x` cannot be read or does not fit the model.
        OptionError: `original` or `patched` is neither a path nor a model.
        ProvenanceError: `original` was patched before and changed since.
    """
    before = unpatched(opened(original))
    pair = Pair(before, opened(patched), inputs_of(x, before.model, mean=mean, std=std), seed)
    checks: list[Check] = []
    for name, check in CHECKS.items():
        try:
            checks.append(Check(name, ok=True, detail=check(pair)))
        except (FailedError, StructureError, ProvenanceError, RunError) as error:
            checks.append(Check(name, ok=False, detail=str(error)))
        except UndecidedError as error:
            checks.append(Check(name, ok=False, detail=str(error), decided=False))
        except DataError:
            with naming(x if isinstance(x, str | Path) else None):
                raise
        except Exception as error:  # noqa: BLE001 - what cannot be checked is not proved
            reason = f"cannot be checked ({type(error).__name__}: {one_line(error)})"
            checks.append(Check(name, ok=False, detail=reason, decided=False))
        if on_check is not None:
            on_check(checks[-1])
        if name == "structure" and not checks[-1].ok:
            return VerifyReport(tuple(checks))  # without knowing the sites there is nothing more to compare
    return VerifyReport(tuple(checks), (optimized(pair),))


def prove(
    original: Path,
    patched: Path,
    x: InputsLike = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> None:
    """`verify` as a last check before a patched file takes its place.

    Raises:
        VerificationError: a check failed or could not be made; the message says which.
        ModelFileError, DataError, ProvenanceError: as `verify`.
    """
    with naming(original, DataError):  # of several models, the one that the data do not fit
        report = verify(original, patched, x, mean=mean, std=std)
    for check in report.checks:
        if not check.ok:
            what = "failed" if check.decided else "could not be made"
            raise VerificationError(f"{original}: nothing written, the check '{check.name}' {what}: {check.detail}")

"""Running a verdict in tests."""

from collections.abc import Callable

from onnx_jumprelu.verdict.result import Verdict


def successes(verdict: Verdict) -> list[tuple[str, str, str, str]]:
    """Everything in a verdict that a seed must fix."""
    return [(row.model, row.kind, row.label, "".join(map(str, row.success.astype(int)))) for row in verdict.rows]


def interrupting(after: int) -> Callable[[int], None]:
    """A callback that presses Ctrl-C after this many attacks."""
    done = []

    def step(_: int) -> None:
        done.append(1)
        if len(done) == after:
            raise KeyboardInterrupt

    return step

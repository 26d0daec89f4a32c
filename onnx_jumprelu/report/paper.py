"""The table of JumpReLU's authors, for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_jumprelu.paper.table import PaperRow
from onnx_jumprelu.report.as_json import Json
from onnx_jumprelu.report.tables import joined, table

READING = (
    "Accuracy after the attack, white-box / gray-box (made at jump 0); ifgsm: iterated FGSM, tr: trust region. Noise: "
    "the mean length of the perturbations, relative to the input's / absolute, in the model's normalized space. A zero "
    "gradient is a failed step. These attacks use exact gradients and no budget: they show what the paper showed, and "
    "are no verdict."
)


def text(rows: Sequence[PaperRow], what: str, *, color: bool = False) -> str:
    """Accuracies, then noise, one row per jump; `what` says which model and which examples."""
    names = [cell.attack for cell in rows[0].cells]
    accuracies = [
        (f"{row.jump:g}", f"{row.clean:.4f}", *(f"{cell.white:.3f} / {cell.gray:.3f}" for cell in row.cells))
        for row in rows
    ]
    lengths = [
        (f"{row.jump:g}", *(f"{cell.relative_noise:.3f} / {cell.absolute_noise:.3f}" for cell in row.cells))
        for row in rows
    ]
    zeros = [(f"{row.jump:g}", *(f"{cell.zero_gradients:.1%}" for cell in row.cells)) for row in rows]
    return joined(
        f"{what}; the jumps are set here, in the original: PATCHED and --eps play no part",
        "\nAccuracy",
        table(("jump", "clean", *names), accuracies, color=color),
        "\nNoise",
        table(("jump", *names), lengths, color=color),
        "\nGradients that were 0",
        table(("jump", *names), zeros, color=color),
        f"\n{READING}",
    )


def content(rows: Sequence[PaperRow]) -> Json:
    """The same as JSON."""
    return {
        "protocol": "paper",
        "rows": [
            {
                "jump": row.jump,
                "clean_accuracy": row.clean,
                "attacks": [
                    {
                        "name": cell.attack,
                        "white": cell.white,
                        "gray": cell.gray,
                        "relative_noise": cell.relative_noise,
                        "absolute_noise": cell.absolute_noise,
                        "zero_gradients": cell.zero_gradients,
                    }
                    for cell in row.cells
                ],
            }
            for row in rows
        ],
    }

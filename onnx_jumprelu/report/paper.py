"""The table of JumpReLU's authors, for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_jumprelu.files.json_records import stamped
from onnx_jumprelu.paper.table import PaperRow
from onnx_jumprelu.report.as_json import Json
from onnx_jumprelu.report.text_tables import joined, table

HOW_TO_READ = (
    "Accuracy: after the attack, white-box / gray-box (examples made at jump 0). ifgsm: iterated FGSM; tr: trust "
    "region. Noise: mean length of the perturbation, relative to the length of the input / absolute, in normalized "
    "space. A step whose gradient is 0 leaves the input as it is. These attacks use exact gradients and no eps. They "
    "repeat the experiment of the paper; they are not a verdict."
)


def text(rows: Sequence[PaperRow], what: str, *, color: bool = False) -> str:
    """Tables of accuracies, noise and zero gradients, one row per jump; `what` names the model and the examples."""
    names = [cell.attack for cell in rows[0].cells]
    accuracies = [
        (
            f"{row.jump:g}",
            f"{row.clean_accuracy:.4f}",
            *(f"{cell.white_box:.3f} / {cell.gray_box:.3f}" for cell in row.cells),
        )
        for row in rows
    ]
    lengths = [
        (f"{row.jump:g}", *(f"{cell.relative_length:.3f} / {cell.absolute_length:.3f}" for cell in row.cells))
        for row in rows
    ]
    zeros = [(f"{row.jump:g}", *(f"{cell.zero_gradients:.1%}" for cell in row.cells)) for row in rows]
    return joined(
        f"{what}; the jumps below are set in the original, and PATCHED and --eps are not used",
        "\nAccuracy",
        table(("jump", "clean", *names), accuracies, color=color),
        "\nNoise",
        table(("jump", *names), lengths, color=color),
        "\nGradients that were 0",
        table(("jump", *names), zeros, color=color),
        f"\n{HOW_TO_READ}",
    )


def content(rows: Sequence[PaperRow]) -> Json:
    """The same as JSON."""
    found = [
        {
            "jump": row.jump,
            "clean_accuracy": row.clean_accuracy,
            "attacks": [
                {
                    "name": cell.attack,
                    "white": cell.white_box,
                    "gray": cell.gray_box,
                    "relative_noise": cell.relative_length,
                    "absolute_noise": cell.absolute_length,
                    "zero_gradients": cell.zero_gradients,
                }
                for cell in row.cells
            ],
        }
        for row in rows
    ]
    return stamped("paper", {"protocol": "paper", "rows": found})

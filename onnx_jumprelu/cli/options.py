"""Options that several commands share, each declared once, and how a command's parameters become options.

A command is a function under `@command`. Its parameters are options, as typer reads them, with two additions: a
parameter whose type is an `OptionGroup` becomes all options of the group, and `Parsed` reads a value that typer has
no type for, such as `8/255`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

from onnx_jumprelu.names import ExternalDataMode, NormName

if TYPE_CHECKING:
    from onnx_jumprelu.classifier.target import Target

# The panels of the help, in the order in which most commands show them.
MODEL, DATA, THREAT, EFFORT = "Model", "Data", "Threat", "Effort"
GATES, REPORTS, OUTPUT = "Gates", "Reports", "Output"


class OptionGroup:
    """Base of dataclasses whose fields are options; every field has a default."""


@dataclass(frozen=True)
class Parsed:
    """Marks an option whose text this function reads; typer sees a string."""

    read: Callable[[str], Any]


def command(run: Callable[..., int | None]) -> Callable[..., int | None]:
    """The function as typer takes it: each option group replaced by its options, each `Parsed` value by its text.

    What it returns is the exit code; None is 0.
    """
    parameters = list(inspect.signature(run, eval_str=True).parameters.values())
    groups = {each.name: each.annotation for each in parameters if _is_group(each.annotation)}
    options = [option for each in parameters for option in _options(each)]

    def invoke(**texts: Any) -> int | None:  # noqa: ANN401 - whatever the options hold
        values = {option.name: _read(option, texts[option.name]) for option in options}
        built = {
            name: group(**{each.name: values.pop(each.name) for each in fields(group)})
            for name, group in groups.items()
        }
        return run(**values, **built)

    invoke.__doc__ = run.__doc__
    shown = [option.replace(annotation=_without_parser(option.annotation)) for option in options]
    setattr(invoke, "__signature__", inspect.Signature(shown))  # noqa: B010 - mypy knows no such attribute; typer reads it
    invoke.__annotations__ = {}
    return invoke


def _is_group(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, OptionGroup)


def _options(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """The options that a parameter becomes: itself, or those of its group."""
    if not _is_group(parameter.annotation):
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    hints = get_type_hints(parameter.annotation, include_extras=True)
    for each in fields(parameter.annotation):
        yield inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
        )


def _parser(annotation: object) -> Parsed | None:
    extras = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, Parsed)), None)


def _without_parser(annotation: Any) -> Any:  # noqa: ANN401 - any type hint
    if _parser(annotation) is None:
        return annotation
    extras = tuple(extra for extra in get_args(annotation)[1:] if not isinstance(extra, Parsed))
    return Annotated.__class_getitem__((str, *extras))  # type: ignore[attr-defined] # Python 3.10 cannot unpack here


def _read(option: inspect.Parameter, text: Any) -> Any:  # noqa: ANN401 - whatever the option holds
    parser = _parser(option.annotation)
    if parser is None or text is None:
        return text
    try:
        return parser.read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{option.name.replace('_', '-')}") from None


def number(text: str) -> float:
    """A number, or a fraction such as `8/255`. Raises ValueError."""
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"'{text}' is not a number; give one such as 0.03 or 8/255") from None


def numbers(text: str) -> tuple[float, ...]:
    """One number, or several with commas between them. Raises ValueError."""
    try:
        return tuple(number(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"'{text}': give numbers with commas between them, such as 0.5 or 0.48,0.45,0.40 or 1/255"
        ) from None


def words(text: str) -> tuple[str, ...]:
    """Words with commas between them."""
    return tuple(part.strip() for part in text.split(","))


NUMBER, NUMBERS, WORDS = Parsed(number), Parsed(numbers), Parsed(words)


def data_option(content: str) -> Any:  # noqa: ANN401 - as typer.Option
    """`--data`, whose content differs from command to command."""
    return typer.Option(help=content, metavar="FILE", rich_help_panel=DATA)


def eps_option(more: str = "") -> Any:  # noqa: ANN401 - as typer.Option
    """`--eps`, which not every command requires."""
    help_text = f"Largest perturbation, in the units of the data: 0.03 or 8/255.{more}"
    return typer.Option(help=help_text, metavar="NUMBER", rich_help_panel=THREAT)


NormOption = Annotated[
    NormName | None, typer.Option(help="How a perturbation is measured. [default: Linf]", rich_help_panel=THREAT)
]
SeedOption = Annotated[int, typer.Option(help="Seed of all randomness.", min=0, metavar="N", rich_help_panel=EFFORT)]
ExamplesOption = Annotated[
    int | None,
    typer.Option(
        "--n-examples", help="Use only the first N examples. [default: all]", min=1, metavar="N", rich_help_panel=DATA
    ),
]
InPlaceOption = Annotated[bool, typer.Option("--in-place", help="Replace the input file.", rich_help_panel=OUTPUT)]
ExternalDataOption = Annotated[
    ExternalDataMode,
    typer.Option(
        help="How external weights get to an output in another folder. A hard link takes no space; it is refused if "
        "the installed onnx does not load it (from 1.21 on).",
        rich_help_panel=OUTPUT,
    ),
]


@dataclass(frozen=True)
class NormalizationOptions(OptionGroup):
    """What happens to the data before the model sees them."""

    mean: Annotated[
        tuple[float, ...] | None,
        NUMBERS,
        typer.Option(
            help="Subtract this from the data before the model: one value, or one per channel such as 0.48,0.45,0.40.",
            metavar="NUMBERS",
            rich_help_panel=DATA,
        ),
    ] = None
    std: Annotated[
        tuple[float, ...] | None,
        NUMBERS,
        typer.Option(
            help="Then divide the data by this: one value such as 0.25 or 1/255, or one per channel.",
            metavar="NUMBERS",
            rich_help_panel=DATA,
        ),
    ] = None


@dataclass(frozen=True)
class TargetOptions(NormalizationOptions):
    """How a model is opened and fed, the same in every command that runs one."""

    bounds: Annotated[
        tuple[float, float],
        typer.Option(
            help="Smallest and largest value that an input may have.", metavar="LOW HIGH", rich_help_panel=DATA
        ),
    ] = (0.0, 1.0)
    input_name: Annotated[
        str | None,
        typer.Option(
            "--input-name",
            help="The input that takes the data, for a model with several.",
            metavar="NAME",
            rich_help_panel=MODEL,
        ),
    ] = None
    output_name: Annotated[
        str | None,
        typer.Option(
            "--output-name",
            help="The output that holds the logits. [default: the first]",
            metavar="NAME",
            rich_help_panel=MODEL,
        ),
    ] = None
    providers: Annotated[
        tuple[str, ...] | None,
        WORDS,
        typer.Option(
            help="onnxruntime's execution providers, with commas between them. [default: CPUExecutionProvider]",
            metavar="NAMES",
            rich_help_panel=MODEL,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads per operator. [default: onnxruntime's choice]", min=1, metavar="N", rich_help_panel=MODEL
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Examples per run of the model. [default: as many as fit in 1 GiB, at most 128]",
            min=1,
            metavar="N",
            rich_help_panel=MODEL,
        ),
    ] = None
    # What the tensors' options were called before.
    old_input: Annotated[str | None, typer.Option("--input", hidden=True)] = None

    def target(self, model: Path, surrogate: str = "exact") -> Target:
        """A model with these options."""
        from onnx_jumprelu.classifier.target import Target
        from onnx_jumprelu.runtime import CPU

        return Target(
            model,
            bounds=self.bounds,
            mean=self.mean,
            std=self.std,
            surrogate=surrogate,
            input_name=self.input_name or self.old_input,
            output_name=self.output_name,
            providers=CPU if self.providers is None else self.providers,
            threads=self.threads,
            batch_size=self.batch_size,
        )


def check_no_tensor(output: Path | None, model: Path) -> None:
    """Refuse the former use of `--output`, which named the model's output tensor, and not a file as everywhere.

    Raises:
        BadParameter: the model has an output tensor of this name.
        ModelFileError: the model cannot be read.
    """
    if output is None or output.suffix:
        return
    from onnx_jumprelu.files.models import load

    if str(output) in {value.name for value in load(model, weights=False).model.graph.output}:
        raise typer.BadParameter(
            f"'{output}' is an output tensor of {model}; --output-name names the tensor, --output the file to write"
        )

"""JSON Schemas (draft 2020-12) of the results and state files that this tool writes, one file per schema."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from onnx_jumprelu.errors import OptionError


def schema_names() -> list[str]:
    """Names of all schemas, such as `verdict`."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))


def json_schema(name: str) -> dict[str, Any]:
    """The schema of results whose `schema` is `onnx-jumprelu/NAME/1`.

    Args:
        name: The schema's name, such as `verdict`.

    Raises:
        OptionError: there is no such schema.
    """
    if name not in schema_names():
        raise OptionError(f"there is no JSON schema '{name}'; choose {', '.join(schema_names())}")
    schema: dict[str, Any] = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return schema

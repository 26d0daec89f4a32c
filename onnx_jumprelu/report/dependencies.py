"""What the HTML report and its pictures need besides the package's own dependencies."""

from __future__ import annotations

import importlib

from onnx_jumprelu.errors import OptionError

PACKAGES = ("jinja2", "matplotlib")


def require() -> None:
    """Refuse, best before any long work, where the extra is not installed.

    Raises:
        OptionError: it is not.
    """
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise OptionError(
                "HTML reports and pictures need the extra 'report': pip install 'onnx-jumprelu[report]'"
            ) from error

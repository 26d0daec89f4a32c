"""Rendering results: from result dataclasses, computing nothing."""

# Renderers of a `Verdict` by name, each `MODULE:FUNCTION` in this package; modules are loaded when they are used.
REPORTS = {
    "json": "as_json:verdict",
    "text": "verdict_text:verdict",
    "markdown": "markdown:render",
    "junit": "junit:render",
    "html": "html:render",
    "figure": "charts:accuracies_figure",
    "notebook": "notebook:verdict_notebook",
}

# Renderers of a `Tuning` by name, each `MODULE:FUNCTION` in this package; modules are loaded when they are used.
TUNING_REPORTS = {
    "json": "tuning_json:tuning_dict",
    "text": "tuning_table:tuning_text",
    "csv": "tuning_csv:tuning_csv",
    "svg": "tuning_picture:trade_off",
    "figure": "tuning_picture:trade_off_figure",
    "notebook": "notebook:tuning_notebook",
}

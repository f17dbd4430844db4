"""Runs inside every kernel before the first code: gives the last expression's value its JSON form.

It is sent to the kernel as text, because the kernel's environment does not have this package.
"""


def _install() -> None:
    import json
    import math

    from IPython import get_ipython
    from IPython.core.formatters import BaseFormatter

    class JsonResult(BaseFormatter):  # type: ignore[misc]  # IPython is not installed here
        format_type = "application/x-session-result"

        def __call__(self, value: object) -> "str | None":
            if isinstance(value, float) and not math.isfinite(value):
                return json.dumps(str(value))
            try:
                text = json.dumps(value, allow_nan=False)
            except (TypeError, ValueError, RecursionError, OverflowError):
                return None
            return text if len(text) <= 1_000_000 else None

    formatter = get_ipython().display_formatter
    formatter.formatters[JsonResult.format_type] = JsonResult(parent=formatter)


_install()
del _install

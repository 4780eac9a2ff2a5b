"""Laws: what must hold for any input, against plain Python."""

from __future__ import annotations

from functools import cache
from types import CodeType
from typing import Any

import jinja2
import yaml

from orchestration.home import DBT_PROJECT_DIR

# Business time as the project's defaults have it, with the fast form of its macros.
BUSINESS_TIME: dict[str, Any] = {
    name: value
    for name, value in yaml.safe_load((DBT_PROJECT_DIR / "dbt_project.yml").read_text())["vars"].items()
    if name.startswith("business_")
}


class Templates(jinja2.Environment):
    """Compiles each text once, for all environments of its kind: the project's macros are one text of a thousand lines.

    What a text is compiled to says nothing of the globals that it is rendered with.
    """

    def compile(self, source: Any, *_: Any, **__: Any) -> Any:
        """Code of the text."""
        return _compiled(source, tuple(sorted(self.extensions)))


@cache
def _compiled(source: str, extensions: tuple[str, ...]) -> CodeType:
    return jinja2.Environment(extensions=extensions, autoescape=False).compile(source)

"""Laws: what must hold for any input, against plain Python."""

from __future__ import annotations

from typing import Any

import yaml

from orchestration.home import DBT_PROJECT_DIR

# Business time as the project's defaults have it, with the fast form of its macros.
BUSINESS_TIME: dict[str, Any] = {
    name: value
    for name, value in yaml.safe_load((DBT_PROJECT_DIR / "dbt_project.yml").read_text())["vars"].items()
    if name.startswith("business_")
}

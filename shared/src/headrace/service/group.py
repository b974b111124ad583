"""What every group of settings is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

MIB = 1024 * 1024


class Group(BaseModel):
    """A group of settings: unknown names are errors and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _keep_switches_apart(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `port = true`, which would be port 1."""
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("true and false are not allowed")
        return value

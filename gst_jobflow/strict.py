"""The base of every typed input: unknown keys are refused, with the nearest known key."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from gst_jobflow.errors import nearest


class StrictModel(BaseModel):
    """A pydantic model that refuses unknown keys and names the nearest known one."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = {field.alias or name for name, field in cls.model_fields.items()} | set(cls.model_fields)
            # monty adds @module, @class and @version when jobflow stores a model
            data = {key: value for key, value in data.items() if not str(key).startswith("@")}
            unknown = [str(key) for key in data if key not in known]
            if unknown:
                raise ValueError(f"unknown key '{unknown[0]}' in {cls.__name__}: {nearest(unknown[0], known)}")
        return data

"""A system (system.json): several networks that share out the classes of a data set, each a run under parts/."""

from typing import Literal

from pydantic import Field, field_validator

from hilum.core.plan import ClassPlan, Strict

NAME = "system.json"


class Group(Strict):
    """One network of a system: the name of its folder under parts/, and the classes that it finds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)
    classes: list[ClassPlan] = Field(min_length=1)


class SystemPlan(Strict):
    """system.json. groups: in the order of merging; no name, however its letters are written, and no class twice."""

    format: Literal[1] = 1
    groups: list[Group] = Field(min_length=2)

    @field_validator("groups")
    @classmethod
    def _differ(cls, value: list[Group]) -> list[Group]:
        """No group and no class twice; groups are folders, and on many disks bones and Bones are one folder."""
        held = [c for group in value for c in group.classes]
        if len({g.name.casefold() for g in value}) < len(value):
            raise ValueError("a group is there twice, or two names differ in upper and lower case only")
        if len({c.value for c in held}) < len(held) or len({c.name for c in held}) < len(held):
            raise ValueError("a class is there twice")
        return value

    def classes(self) -> list[ClassPlan]:
        """The classes of all groups, by value, which is their order in the plan too."""
        return sorted((c for group in self.groups for c in group.classes), key=lambda c: c.value)

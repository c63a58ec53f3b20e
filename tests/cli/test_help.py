"""What --help ends with."""

from typing import Any

from typer.main import get_command

from hilum.cli.main import app
from hilum.core.findings import INTENDED_USE


def test_the_help_of_every_command_says_what_hilum_is_not_for() -> None:
    group: Any = get_command(app)
    assert INTENDED_USE in " ".join(group.get_help(group.make_context("hilum", [], resilient_parsing=True)).split())
    for name, command in group.commands.items():
        shown = command.get_help(command.make_context(name, [], resilient_parsing=True))
        assert " ".join(shown.split()).endswith(INTENDED_USE), name

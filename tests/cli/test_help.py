"""What --help says, and ends with."""

import inspect
import re
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

import hilum
from hilum.cli.main import app, calibrate
from hilum.core.findings import INTENDED_USE
from hilum.trust import conformal
from hilum.verbs import compare


def test_the_help_of_every_command_says_what_hilum_is_not_for() -> None:
    group: Any = get_command(app)
    assert INTENDED_USE in " ".join(group.get_help(group.make_context("hilum", [], resilient_parsing=True)).split())
    for name, command in group.commands.items():
        shown = command.get_help(command.make_context(name, [], resilient_parsing=True))
        assert " ".join(shown.split()).endswith(INTENDED_USE), name


def help_of(name: str) -> str:
    group: Any = get_command(app)
    command = group.commands[name]
    return " ".join(command.get_help(command.make_context(name, [], resilient_parsing=True)).split())


def test_the_help_says_how_long_a_comparison_is_without_a_budget() -> None:
    (steps,) = re.findall(r"^        steps = (\d+)$", inspect.getsource(compare.compare), re.MULTILINE)
    assert f"({steps} steps unless said otherwise)" in help_of("compare")


def test_the_help_says_what_is_looked_at_and_what_an_error_is_of() -> None:
    assert "A data folder, a dataset.yaml, a CSV, a study or one image." in help_of("inspect")
    shown = help_of("calibrate")
    assert "sets, intervals and wide masks may miss as much" in shown
    assert "What is not given stays as it was the last time." in shown
    for option in ("error", "opinions", "runtime"):
        # one with a default would undo what was asked for before
        assert inspect.signature(calibrate).parameters[option].default is None
    for error in (0.1, 0.05):
        assert f"{conformal.least(error)} at {error:g}" in shown


def test_version_says_which_hilum_this_is_and_ends_well() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"hilum {hilum.__version__}\n")

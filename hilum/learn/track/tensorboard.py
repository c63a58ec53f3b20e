"""TensorBoard: event files in the run's folder `tensorboard`; look at them with tensorboard --logdir RUN."""

from pathlib import Path

from hilum.core.plan import Plan
from hilum.learn._track import Ended

CARD = {"about": "event files for TensorBoard", "package": "tensorboard", "extra": "track"}


class Tracker:
    """Scalars by the columns of log.csv, and the plan as text."""

    def __init__(self, folder: Path, plan: Plan, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # what earlier event files hold from this step on is from steps that were lost
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)
        # four spaces are Markdown for text as it is
        self.writer.add_text("plan", "\n".join(f"    {line}" for line in plan.text().splitlines()), step)

    def row(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self, ended: Ended) -> None:
        self.writer.close()

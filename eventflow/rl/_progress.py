"""The bar of a learning agent."""

from __future__ import annotations

import time


class Bar:
    """Progress with the mean return of the last ten episodes and the steps a second."""

    def __init__(self, total: int, done: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), TextColumn("{task.completed:,.0f} steps  {task.fields[text]}"), TimeRemainingColumn())
        self.bar = Progress(*columns)
        self.task = self.bar.add_task("", total=total, text="")
        self.first, self.begun = done, time.perf_counter()
        self.bar.start()

    def show(self, steps: int, last: list[float]) -> None:
        """After so many steps; the last returns."""
        done = steps - self.first
        rate = done / max(time.perf_counter() - self.begun, 1e-9)
        text = f"return {sum(last) / len(last):.1f}  " if last else ""
        self.bar.update(self.task, completed=done, text=f"{text}{rate:,.0f}/s")

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.stop()
